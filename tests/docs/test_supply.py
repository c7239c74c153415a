"""What is shipped: manifests that a cluster takes, a bill of materials, licences."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import kubernetes_validate
import pytest
import yaml
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

ROOT: Final = Path(__file__).parents[2]
OLDEST, NEWEST = "1.31", "1.37"
"""Versions of Kubernetes."""


def manifests() -> list[dict[str, Any]]:
    """Every document of every file."""
    files = sorted((ROOT / "kubernetes").glob("*.yaml"))
    return [each for file in files for each in yaml.safe_load_all(file.read_text())]


def pods() -> Iterator[tuple[str, dict[str, Any]]]:
    """The specification of each pod, by the name of what makes it."""
    for each in manifests():
        if "template" in each["spec" if "spec" in each else "metadata"]:
            yield each["metadata"]["name"], each["spec"]["template"]["spec"]


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_a_cluster_takes_the_manifests(version: str) -> None:
    found = manifests()
    assert {each["kind"] for each in found} >= {"Deployment", "StatefulSet", "Service"}
    for each in found:
        kubernetes_validate.validate(each, version, strict=True)


def test_no_pod_is_root_or_writes_to_its_image() -> None:
    found = dict(pods())
    assert set(found) == {"skyloom", "skyloom-scheduler", "skyloom-worker", "skyloom-database"}
    for pod in found.values():
        assert pod["securityContext"]["runAsNonRoot"] and not pod["automountServiceAccountToken"]
        volumes = {each["name"] for each in pod["volumes"]} | {"database"}
        for container in (*pod.get("initContainers", ()), *pod["containers"]):
            rights = container["securityContext"]
            assert rights["readOnlyRootFilesystem"] and rights["capabilities"]["drop"] == ["ALL"]
            assert not rights["allowPrivilegeEscalation"]
            assert {each["name"] for each in container["volumeMounts"]} <= volumes
            for variable in container.get("env", ()):
                assert "valueFrom" in variable or "PASSWORD" not in variable["name"]
    (server,) = found["skyloom"]["containers"]
    assert server["livenessProbe"]["httpGet"]["path"] == "/health"
    assert server["readinessProbe"]["httpGet"]["path"] == "/ready"


def test_code_of_builds_has_a_place_to_be_compiled_to() -> None:
    """The first plan of a build that a scheduler reads fails where numba cannot write."""
    for pod in dict(pods()).values():
        for container in pod["containers"]:
            told = {each["name"]: each.get("value") for each in container.get("env", ())}
            mounted = [each["mountPath"] for each in container["volumeMounts"]]
            if container["image"].startswith("skyloom:"):
                kept = Path(told["NUMBA_CACHE_DIR"])
                assert any(kept.is_relative_to(each) for each in mounted)
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    for service in ("service", "scheduler", "worker"):
        told = compose[service]
        places = [*(each.split(":")[1] for each in told["volumes"]), *told["tmpfs"]]
        kept = Path(told["environment"].get("NUMBA_CACHE_DIR", "/home/skyloom/numba"))
        assert any(kept.is_relative_to(each) for each in places)


def supply(what: str) -> str:
    """What the script says."""
    command = [sys.executable, str(ROOT / ".ci" / "supply.py"), what]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_the_bill_of_materials() -> None:
    text = supply("sbom")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    components = {each["name"]: each for each in json.loads(text)["components"]}
    assert {"astropy", "numpy", "starlette", "prometheus-client"} <= set(components)
    assert not {"pytest", "sphinx", "mypy"} & set(components)
    assert components["astropy"]["hashes"]


def test_an_image_keeps_what_is_needed() -> None:
    unneeded = set(supply("unneeded").split())
    assert {"pytest", "sphinx", "mypy", "pip"} <= unneeded
    assert not {"numpy", "galsim", "uvloop", "psycopg-binary", "skyloom"} & unneeded


def test_every_licence_is_known() -> None:
    rows = re.findall(r"^\| (\S+) \| \S+ \| (.+) \|$", supply("licences"), re.M)
    assert len(rows) > 60
    assert [name for name, told in rows if told == "not stated"] == []

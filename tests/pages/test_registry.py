"""The record for the VO's registry tells what the service itself tells."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from astropy import units as u
from mocpy import MOC
from typer.testing import CliRunner

from app import cli
from tests.pages.conftest import Site
from tests.xsd import assert_valid_capabilities, assert_valid_record

CSV: Final[dict[str, Any]] = {"delimiter": ",", "skip_header": 1}
SETTINGS = {
    "SKYLOOM_BASE_URL": "http://sky.test",
    "SKYLOOM_AUTHORITY": "example.org",
    "SKYLOOM_TITLE": "Survey & <sky>",
    "SKYLOOM_REGISTRY_PUBLISHER": "Example Observatory",
    "SKYLOOM_REGISTRY_CONTACT": "The archive's desk",
    "SKYLOOM_REGISTRY_EMAIL": "archive@example.org",
    "SKYLOOM_REGISTRY_DESCRIPTION": "Images of a small survey",
    "SKYLOOM_REGISTRY_SUBJECTS": '["surveys", "time-domain-astronomy"]',
    "SKYLOOM_REGISTRY_CREATED": "2026-05-01T00:00:00Z",
}


def record(site: Site, settings: Mapping[str, str], output: Path) -> tuple[int, str]:
    """Exit status and what was said; the record is in ``output``."""
    call = ["registry-record", "--data-dir", str(site.data_dir), "--output", str(output)]
    done = CliRunner().invoke(cli.app, call, env=dict(settings))
    return done.exit_code, str(done.exception)


def test_the_record(site: Site, tmp_path: Path) -> None:
    path = tmp_path / "record.xml"
    assert record(site, SETTINGS, path)[0] == 0
    root = assert_valid_record(path.read_bytes())
    assert root.get("created") == "2026-05-01T00:00:00Z"
    assert root.findtext("identifier") == "ivo://example.org/skyloom"
    assert root.findtext("title") == "Survey & <sky>"
    assert root.findtext("curation/contact/email") == "archive@example.org"
    assert [each.text for each in root.findall("content/subject")] == [
        "surveys",
        "time-domain-astronomy",
    ]
    told = {each.get("standardID") for each in root.findall("capability")}
    for room in ("tap", "sia", "soda"):
        served = assert_valid_capabilities(site.client.get(f"/{room}/capabilities").content)
        assert {each.get("standardID") for each in served} <= told
    assert "ivoa.ObsCore" in [each.text for each in root.findall("tableset/schema/table/name")]


def test_its_coverage_is_that_of_the_images(site: Site, tmp_path: Path) -> None:
    path = tmp_path / "record.xml"
    record(site, SETTINGS, path)
    root = assert_valid_record(path.read_bytes())
    moc = MOC.from_string(root.findtext("coverage/spatial") or "")
    query = "SELECT s_ra, s_dec, t_min, t_max FROM ivoa.ObsCore"
    asked = {"LANG": "ADQL", "FORMAT": "csv", "QUERY": query}
    rows = np.genfromtxt(io.StringIO(site.client.get("/tap/sync", params=asked).text), **CSV).T
    assert moc.max_order == 6
    assert moc.contains_lonlat(rows[0] * u.deg, rows[1] * u.deg).all()
    times = [float(each) for each in (root.findtext("coverage/temporal") or "").split()]
    assert times == [rows[2].min(), rows[3].max()]
    low, high = (float(each) for each in (root.findtext("coverage/spectral") or "").split())
    assert 1e-19 < low < high < 1e-18  # visible light, in joules


@pytest.mark.parametrize("missing", ["BASE_URL", "REGISTRY_EMAIL"])
def test_a_setting_that_is_missing_is_named(site: Site, tmp_path: Path, missing: str) -> None:
    settings = {**SETTINGS, f"SKYLOOM_{missing}": ""}
    if missing == "BASE_URL":
        del settings[f"SKYLOOM_{missing}"]
    status, said = record(site, settings, tmp_path / "record.xml")
    assert status != 0 and f"SKYLOOM_{missing}" in said

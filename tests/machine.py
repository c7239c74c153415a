"""What this machine has of the tools that some tests need, and how their absence is told.

A test that needs a tool carries ``@pytest.mark.needs("stilts")``, or its fixture calls
:func:`require`. On a machine without the tool the test is not run, and one line at the end of the
run names every missing tool with the number of tests it cost; with ``CI=true`` it fails instead.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.postgres import find_postgres

SHARED = (Path(__file__).resolve().parents[2] / "shared").resolve()
"""Real images, XML schemas and query collections, in the folder beside the checkout."""

TOOLS = {
    "postgresql": "PostgreSQL",
    "stilts": "STILTS",
    "chromium": "Chromium",
    "node": "Node.js",
    "bundles": "the scripts of the pages and their checker",
    "unshare": "user and mount namespaces (unshare)",
    "shared": "the shared conformance material beside the checkout",
}

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
BUNDLES = ("app/pages/static/built", "app/pages/web/node_modules/axe-core")

_PREFIX = "not run, this machine lacks "


def missing(tool: str) -> str | None:
    """Why a tool cannot be used here, None when it can."""
    if tool == "postgresql":
        found = find_postgres()
        return found if isinstance(found, str) else None
    if tool == "unshare":
        return _cannot_mount()
    if tool == "shared":
        return None if SHARED.is_dir() else "no folder ../shared"
    if tool == "bundles":
        there = all(Path(folder).is_dir() for folder in BUNDLES)
        return None if there else "not built, `python hatch_build.py` does"
    commands = {"chromium": CHROMIUM}.get(tool, (tool,))
    if any(shutil.which(command) for command in commands):
        return None
    return f"no command {' or '.join(commands)} on PATH"


def _cannot_mount() -> str | None:
    """Linux alone gives a process a small disk of its own, and some machines forbid that."""
    command = ["unshare", "--user", "--map-root-user", "--mount"]
    command += ["mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "no command unshare on PATH"
    return None if done.returncode == 0 else done.stderr.strip()


def require(tool: str, reason: str | None = None) -> None:
    """Do not run the test unless the tool is there; ``reason`` says why it is of no use."""
    lack = reason or missing(tool)
    if lack is None:
        return
    message = f"{_PREFIX}{TOOLS[tool]}: {lack}"
    if os.environ.get("CI", "").lower() in ("1", "true", "yes"):
        pytest.fail(message, pytrace=False)
    pytest.skip(message)


def summary_line(skips: Iterable[str]) -> str | None:
    """``NOT RUN on this machine: …`` from the reasons of skipped tests, None if nothing lacked."""
    found = [match for reason in skips if (match := re.search(f"{_PREFIX}([^:]+): (.*)", reason))]
    if not found:
        return None
    counts = Counter(match.group(1) for match in found)
    reasons = {match.group(1): match.group(2) for match in found}
    parts = [
        f"{name} ({count} test{'s' if count > 1 else ''}: {reasons[name]})"
        for name, count in counts.items()
    ]
    return "NOT RUN on this machine: " + "; ".join(parts)

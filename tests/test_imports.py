"""What is not imported before it is needed: commands and servers start without it."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("module", "unneeded"),
    [
        ("app.cli", ("app.main", "astropy", "distributed", "fastapi", "numba", "sqlalchemy")),
        ("app.wiring_database", ("astropy", "distributed", "fastapi", "scipy.stats")),
        ("app.main", ("distributed", "matplotlib", "galsim", "scipy.stats")),
    ],
)
def test_nothing_is_imported_before_it_is_needed(module: str, unneeded: tuple[str, ...]) -> None:
    code = f"import sys, {module}; print(*sorted(set({unneeded!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []

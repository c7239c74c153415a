"""An installed wheel brings its migrations along."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

from tests.stores.contract import ROOT


def test_a_database_is_made_from_an_installed_wheel(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    installed = tmp_path / "site-packages"
    zipfile.ZipFile(wheel).extractall(installed)
    code = (
        "from app.services.setup import init_database;"
        "from app.stores.migrations import migrations_dir;"
        "print(migrations_dir()); init_database('sqlite:///x.sqlite3')"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        cwd=tmp_path,
        # Compiling the fresh copy takes half a minute, and is not what is asked here.
        env={**os.environ, "PYTHONPATH": str(installed), "NUMBA_DISABLE_JIT": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(done.stdout.strip()) == installed / "app" / "_migrations"
    assert (tmp_path / "x.sqlite3").stat().st_size > 0

"""Compiled code on disk after an update that changed only what a function takes in."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CALLER = """
from numba import njit
from {package}.values import {name}

@njit(cache=True)
def told():
    return {call}
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package of two modules, of which the first takes in what the second holds."""
    folder = tmp_path / "loom"
    folder.mkdir()
    (folder / "__init__.py").touch()
    return folder


def ask(package: Path, before: str = "pass") -> str:
    hits = "sum(told.stats.cache_hits.values())"
    code = f"import app; {before}; from loom.caller import told; print(told(), {hits})"
    # Byte code is not kept: Python takes sources of one size and one second for the same.
    done = subprocess.run(
        [sys.executable, "-B", "-c", code],
        cwd=package.parent,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("name", "call", "values"),
    [
        ("LEVEL", "LEVEL", ("LEVEL = 1\n", "LEVEL = 2\n")),
        (
            "level",
            "level()",
            tuple(
                f"from numba import njit\n\n@njit\ndef level():\n    return {n}\n" for n in (1, 2)
            ),
        ),
    ],
)
def test_a_change_of_what_a_function_takes_in_compiles_it_anew(
    package: Path, name: str, call: str, values: tuple[str, str]
) -> None:
    (package / "caller.py").write_text(CALLER.format(package="loom", name=name, call=call))
    (package / "values.py").write_text(values[0])
    assert ask(package) == "1 0"
    assert ask(package) == "1 1"  # kept
    (package / "values.py").write_text(values[1])
    assert ask(package) == "2 0"


def test_imports_at_any_remove_count(package: Path) -> None:
    (package / "caller.py").write_text(
        CALLER.format(package="loom", name="(\n    LEVEL,\n)", call="LEVEL")
    )
    (package / "values.py").write_text("from loom import deep\nLEVEL = deep.LEVEL\n")
    (package / "deep.py").write_text("LEVEL = 1\n")
    assert ask(package) == "1 0"
    (package / "deep.py").write_text("LEVEL = 2\n")
    assert ask(package) == "2 0"


def test_code_is_kept_whatever_was_compiled_before_it(package: Path) -> None:
    (package / "caller.py").write_text(CALLER.format(package="loom", name="LEVEL", call="LEVEL"))
    (package / "values.py").write_text("LEVEL = 1\n")
    other = "from numba import njit\n\n@njit(cache=True)\ndef other():\n    return 0\n"
    (package / "other.py").write_text(other)
    assert ask(package, "from loom.other import other; other()") == "1 0"
    assert ask(package) == "1 1"

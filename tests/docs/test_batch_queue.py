"""The example of a batch queue: it parses, and a worker begins as it says."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "howto" / "cluster.md"


def snippets() -> dict[str, str]:
    """Caption -> script."""
    found = re.findall(
        r"```\{code-block\} bash\n:caption: ([^\n]+)\n\n(.*?)```", PAGE.read_text(), re.DOTALL
    )
    return dict(found)


@pytest.mark.parametrize("caption", ["skyloom-workers.sh", "on the machine that stays"])
def test_it_parses(caption: str) -> None:
    checked = subprocess.run(
        ["bash", "-n"], input=snippets()[caption], text=True, capture_output=True, check=False
    )
    assert checked.returncode == 0 and not checked.stderr, checked.stderr


def test_the_script_of_a_worker(tmp_path: Path) -> None:
    script = snippets()["skyloom-workers.sh"]
    assert script.startswith("#!/bin/bash\n#SBATCH ")
    (tmp_path / "skyloom").write_text('#!/bin/sh\necho "$@ in $SKYLOOM_DATA_DIR"\n')
    (tmp_path / "skyloom").chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    for given, told in (
        ({"SKYLOOM_SCHEDULER_HOST": "head"}, "worker tcp://head:8786 in /shared/skyloom\n"),
        ({}, ""),
    ):
        run = subprocess.run(
            ["bash", "-c", script],
            env={"PATH": path, **given},
            text=True,
            capture_output=True,
            check=False,
        )
        assert run.stdout == told
        assert bool(run.returncode) is not bool(given)

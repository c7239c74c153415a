"""The documentation builds without a warning, its links lead somewhere, its snippets run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.flows.service import free_port

ROOT: Final = Path(__file__).parents[2]
PAGES: Final = ("tutorial.md", "pyvo.md", "howto/tokens.md", "howto/registry.md")
"""In the order in which a reader would follow them, in one folder and one shell."""
_BLOCK: Final = re.compile(r"^```(bash|python)\n(.*?)^```$", re.M | re.S)


def script_of(pages: tuple[str, ...], port: int) -> str:
    """What a reader types: blocks of a page in their order, those of Python as one program."""
    lines = ["set -euo pipefail", "trap 'kill $(jobs -p); wait' EXIT"]
    for page in pages:
        blocks = _BLOCK.findall((ROOT / "docs" / page).read_text())
        assert blocks, page
        python = [code for language, code in blocks if language == "python"]
        for language, code in blocks:
            if language == "bash":
                lines.append(code)
            elif python:
                lines += ["python - <<'END_OF_PYTHON'", *python, "END_OF_PYTHON"]
                python = []
    return "\n".join(lines).replace(":8000", f":{port}").replace("--port 8000", f"--port {port}")


def command_on_path(folder: Path) -> None:
    """``skyloom`` and ``python`` as they stand on the path after an installation."""
    folder.mkdir()
    for name, words in (("skyloom", "-m app.cli"), ("python", "")):
        command = folder / name
        command.write_text(f'#!/bin/sh\nexec "{sys.executable}" {words} "$@"\n')
        command.chmod(0o755)


def test_a_reader_follows_tutorial_and_guides(tmp_path: Path) -> None:
    command_on_path(tmp_path / "bin")
    folder = tmp_path / "clean"
    folder.mkdir()
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SKYLOOM_")}
    path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script_of(PAGES, free_port())],
        cwd=folder,
        env={**kept, "PATH": path, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    said = done.stdout
    assert '"status":"ready"' in said and "fail " not in said
    assert (
        len(
            re.findall(
                r"^ivo://hilltop\.example/hilltop\?night\d,Hilltop Observatory,r", said, re.M
            )
        )
        == 4
    )
    assert "4 images" in said and "Hilltop 1m (200, 200)" in said
    assert "<ri:Resource" in (folder / "record.xml").read_text()


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    site = tmp_path / "site"
    sphinx = [sys.executable, "-m", "sphinx", "--builder", "html", "--fail-on-warning", "--quiet"]
    done = subprocess.run(
        [*sphinx, "--doctree-dir", str(tmp_path / "trees"), str(ROOT / "docs"), str(site)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    settings = (site / "reference" / "settings.html").read_text()
    assert "SKYLOOM_SHUTDOWN_WAIT_S" in settings and "How long requests under way" in settings
    assert "obs_publisher_did" in (site / "reference" / "tables.html").read_text()
    assert "StoppingError" in (site / "reference" / "errors.html").read_text()
    assert "CIRCLE" in (site / "reference" / "parameters.html").read_text()


def test_links_of_the_readme_lead_somewhere() -> None:
    text = (ROOT / "README.md").read_text()
    links = re.findall(r"\]\((?!https?:)([^)#]+)", text)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []

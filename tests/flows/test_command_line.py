"""The command as an operator meets it: what is wrong is one clear line, never a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


def skyloom(*arguments: str | bytes, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run the command; undecodable output would be an error of its own."""
    command = [sys.executable, "-m", "app.cli", *arguments]
    return subprocess.run(
        command, env={**os.environ, **settings}, text=True, capture_output=True, check=False
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SKYLOOM_DATA_DIR", "/dev/null"),
        ("SKYLOOM_WORKERS", "zero"),
        ("SKYLOOM_BASE_URL", "nonsense"),
        ("SKYLOOM_AUTHORITY", "a b/c?"),
        ("SKYLOOM_AUTHORTY", "example.org"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, name: str, value: str) -> None:
    done = skyloom("init", **{"SKYLOOM_DATA_DIR": str(tmp_path), name: value})
    assert done.returncode == 2
    assert f"setting {name}: " in done.stderr
    assert "Traceback" not in done.stderr


def test_names_that_kubernetes_makes_are_no_settings(tmp_path: Path) -> None:
    made = {"SKYLOOM_PORT": "tcp://10.0.0.1:8000", "SKYLOOM_SERVICE_HOST": "10.0.0.1"}
    done = skyloom("init", SKYLOOM_DATA_DIR=str(tmp_path), **made)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("content", [b"workers = [", b"\xff\xfe"])
def test_a_settings_file_that_is_not_toml(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "skyloom.toml"
    path.write_bytes(content)
    done = skyloom("init", SKYLOOM_DATA_DIR=str(tmp_path))
    assert done.returncode == 2
    assert f"settings file {path} is not TOML" in done.stderr


def test_names_that_look_like_markup_and_files_that_are_pipes(tmp_path: Path) -> None:
    images = tmp_path / "images"
    folder = images / "q["
    folder.mkdir(parents=True)
    (folder / "bold].fits").write_text("junk")
    (images / "[bold].fits").write_text("junk")
    os.mkfifo(images / "pipe.fits")
    options = ("--collection", "c", "--data-dir", str(tmp_path / "data"))
    done = skyloom("ingest", str(images), *options, COLUMNS="300")
    assert done.returncode == 1, done.stderr
    assert "/q[/bold].fits" in done.stdout
    assert "/[bold].fits" in done.stdout
    assert "not an ordinary file" in done.stdout


def test_a_folder_without_images_is_told(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "notes.txt").write_text("none yet")
    options = ("--collection", "c", "--data-dir", str(tmp_path / "data"))
    done = skyloom("ingest", str(tmp_path / "images"), *options, COLUMNS="300")
    assert done.returncode == 0
    assert "No file there has the name of a FITS file" in done.stdout


def test_a_report_that_cannot_be_written_is_told_before_the_work(tmp_path: Path) -> None:
    data = tmp_path / "data"
    options = ("--collection", "c", "--data-dir", str(data), "--report", str(tmp_path))
    done = skyloom("ingest", str(tmp_path), *options)
    assert done.returncode == 2
    assert "--report" in done.stderr
    assert not data.exists()


def test_arguments_that_are_no_text(tmp_path: Path) -> None:
    done = skyloom("build", "difference", b"ID=\xff", "--data-dir", str(tmp_path))
    assert done.returncode == 2
    assert "not UTF-8" in done.stderr


def test_queries_of_a_file_are_judged(tmp_path: Path) -> None:
    path = tmp_path / "q.adql"
    path.write_text(
        "SELECT s_ra, COUNT(*) AS n FROM ivoa.ObsCore GROUP BY s_ra;\n"
        "-- the next; one\n"
        "SELECT ';' AS x FROM ivoa.ObsCore;; SELECT s_ra\nFROM obscore LIMIT 3\n"
    )
    done = skyloom("adql", "check", str(path), "--data-dir", str(tmp_path / "none"))
    assert done.returncode == 1, done.stderr
    lines = done.stdout.splitlines()
    assert lines[:5] == [
        f"{path}:1:1: valid",
        "  s_ra  double  [deg]  pos.eq.ra",
        "  n  long",
        f"{path}:3:1: valid",
        "  x  char(*)",
    ]
    assert lines[5].startswith(f"{path}:4:20: syntax: found '3'; expected ")
    assert lines[6:8] == ["  FIX=true would write: SELECT TOP 3 s_ra", "FROM ivoa.ObsCore "]
    assert not (tmp_path / "none").exists()


def test_names_are_unknown_unless_only_the_syntax_counts(tmp_path: Path) -> None:
    path = tmp_path / "q.adql"
    path.write_text("SELECT foo FROM nowhere.at_all")
    options = ("--data-dir", str(tmp_path))
    done = skyloom("adql", "check", str(path), *options)
    assert done.returncode == 1
    assert f"{path}:1:17: unknown name: no table nowhere.at_all" in done.stdout
    assert skyloom("adql", "check", "--syntax", str(path), *options).returncode == 0
    assert skyloom("init", *options).returncode == 0
    assert skyloom("adql", "check", str(path), *options).returncode == 1


@pytest.mark.parametrize("content", [b"", b"-- nothing\n;", b"\xff", None])
def test_a_file_without_queries(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "q.adql"
    if content is not None:
        path.write_bytes(content)
    done = skyloom("adql", "check", str(path), "--data-dir", str(tmp_path))
    assert done.returncode == 2
    assert str(path) in done.stderr
    assert "Traceback" not in done.stderr


def test_warming_up_touches_nothing_of_the_service(tmp_path: Path) -> None:
    data = tmp_path / "data"
    nobody = {"SKYLOOM_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none"}
    done = skyloom("warm-up", SKYLOOM_DATA_DIR=str(data), **nobody)
    assert done.returncode == 0, done.stderr
    assert not data.exists()

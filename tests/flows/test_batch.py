"""``skyloom build templates``: a survey's templates by one command, killed and gone on with."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from astropy.io import fits

from tests.flows.service import Service
from tests.waiting import wait_for

WHERE = "CIRCLE 61.98 -37.07 0.01"
QUIET = "EXCLUDE_TIME=61300 +Inf"
COMMAND = ("build", "templates", "--band", "g", "--pos", WHERE, QUIET)


@pytest.fixture
def survey(demo_dir: Path, tmp_path: Path) -> Iterator[Service]:
    """The demo's images and sky map under a data folder of its own."""
    with (
        closing(sqlite3.connect(demo_dir / "skyloom.sqlite3")) as source,
        closing(sqlite3.connect(tmp_path / "skyloom.sqlite3")) as copy,
    ):
        source.backup(copy)
        copy.execute("PRAGMA foreign_keys = OFF")
        copy.execute("DELETE FROM job")
        copy.commit()
    settings = {"SKYLOOM_CONFIG": str(demo_dir / "skyloom.toml")}
    yield Service(data_dir=tmp_path, environment={**settings, "SKYLOOM_WORKERS": "2"})


def build(survey: Service, report: Path, *more: str, check: bool = True) -> dict[str, Any]:
    """Run the command; its report, with the exit status."""
    done = survey.run(*COMMAND, *more, "--report", str(report), check=check)
    return {**json.loads(report.read_text()), "status": done.returncode, "text": done.stdout}


def products(survey: Service) -> list[Path]:
    """Files of products, all whole."""
    return sorted((survey.data_dir / "products").rglob("*.fits"))


def published(survey: Service) -> dict[str, str]:
    """Identifier -> name of the file of the products that are known."""
    with closing(sqlite3.connect(survey.data_dir / "skyloom.sqlite3", timeout=60)) as database:
        query = "SELECT obs_publisher_did, file_path FROM obscore WHERE origin = 'built'"
        rows = [(name, Path(path)) for name, path in database.execute(query)]
    return {name: path.name for name, path in rows if survey.data_dir in path.parents}


def test_a_killed_batch_goes_on_where_it_was(survey: Service, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "app.cli", *COMMAND],
        env={
            **{k: v for k, v in os.environ.items() if not k.startswith("SKYLOOM_")},
            **survey.environment,
            "SKYLOOM_DATA_DIR": str(survey.data_dir),
            "SKYLOOM_LEASE_S": "2",
        },
        start_new_session=True,
        stdout=subprocess.DEVNULL,
    )
    wait_for(lambda: len(published(survey)) >= 1)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    done = published(survey)
    written = {path.name: path.stat().st_mtime_ns for path in products(survey)}

    report = build(survey, tmp_path / "report.json")
    assert report["status"] == 0, report
    patches = report["patches"]
    assert len({(each["tract"], each["patch"]) for each in patches}) == len(patches) >= 3
    assert {each["state"] for each in patches} <= {"built", "already there"}
    there = {each["dataset_id"] for each in patches if each["state"] == "already there"}
    assert done.keys() <= there and len(published(survey)) == len(patches)
    after = {path.name: path.stat().st_mtime_ns for path in products(survey)}
    assert {after[name] for name in done.values()} == {written[name] for name in done.values()}
    for path in products(survey):
        with fits.open(path) as hdus:
            assert hdus[0].header["BAND"] == "g"

    again = build(survey, tmp_path / "again.json")
    assert again["counts"]["already there"] == len(patches)
    assert "already there" in again["text"]


def test_one_patch_and_wrong_calls(survey: Service) -> None:
    wrong = (
        (["--patch", "3"], "--tract"),
        (["--tract", "1", "--pos", "1 2"], "exclude"),
        (["--tract", "99999999"], "tracts are numbered"),
        (["--tract", "1", "FWHM_MAX=wide"], "FWHM_MAX"),
        (["--pos", "DONUT 1 2"], "POS"),
        (["--pos", "200 80"], "No image of band g"),
    )
    for arguments, words in wrong:
        done = survey.run("build", "templates", "--band", "g", *arguments, check=False)
        assert done.returncode == 2, arguments
        assert words in done.stderr
    assert products(survey) == []

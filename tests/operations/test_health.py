"""Health, readiness, availability, and who may look at figures."""

from __future__ import annotations

import asyncio
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
from lxml import etree
from starlette.testclient import TestClient
from typer.testing import CliRunner

from app import cli
from app.operations import checks
from app.operations.checks import Checks
from tests.operations.conftest import running
from tests.xsd import assert_valid_availability


def test_alive_and_ready(client: TestClient) -> None:
    assert client.get("/health").json() == {"status": "alive"}
    answer = client.get("/ready")
    assert answer.status_code == 200 and answer.headers["cache-control"] == "no-store"
    told = answer.json()
    assert told["status"] == "ready"
    assert set(told["checks"]) == {"database", "tables", "data folder", "jobs", "engine"}
    assert all(each["ok"] for each in told["checks"].values())


def test_not_ready_without_database_or_folder(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with running(folder, dask_scheduler="tcp://127.0.0.1:9") as client:
        folder.rename(tmp_path / "away")
        answer = client.get("/ready")
        assert answer.status_code == 503 and answer.headers["retry-after"] == "10"
        wrong = {name for name, each in answer.json()["checks"].items() if not each["ok"]}
        assert wrong >= {"data folder", "engine"}
        assert str(tmp_path) not in answer.text
        assert client.get("/health").status_code == 200


def test_a_scheduler_that_is_away_is_told_but_does_not_count(tmp_path: Path) -> None:
    with running(tmp_path, dask_scheduler="tcp://127.0.0.1:9") as client:
        answer = client.get("/ready")
        assert answer.status_code == 200
        assert not answer.json()["checks"]["engine"]["ok"]


async def _look(looked: Checks) -> bool:
    return looked.is_ready(await looked.look())


def test_a_look_that_hangs_is_given_up_and_not_begun_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(checks, "LOOK_S", 0.05)
    end, begun = threading.Event(), []

    def hang() -> str:
        begun.append(1)
        end.wait()
        return "at last"

    looked = Checks({"database": hang}, advisory=frozenset())

    async def twice() -> list[bool]:
        found = [await _look(looked), await _look(looked)]
        end.set()
        return found

    assert asyncio.run(twice()) == [False, False]
    assert len(begun) == 1


@pytest.mark.parametrize(
    ("setting", "host", "status"),
    [
        ("local", "127.0.0.1", 200),
        ("local", "::1", 200),
        ("local", "192.0.2.7", 404),
        ("off", "127.0.0.1", 404),
        ("everyone", "192.0.2.7", 200),
    ],
)
def test_who_may_see_figures(tmp_path: Path, setting: str, host: str, status: int) -> None:
    with running(tmp_path, metrics=setting) as client:
        other = TestClient(client.app, client=(host, 1234))
        assert other.get("/metrics").status_code == status


def test_an_announced_stop_is_told(tmp_path: Path) -> None:
    with running(tmp_path) as client:
        before = datetime.now(UTC)
        told = CliRunner().invoke(
            cli.app,
            [
                *("announce", "--down-at", "2031-05-01T18:00", "--back-at", "2031-05-01T20:30"),
                *("--note", "New disks & <more>", "--data-dir", str(tmp_path)),
            ],
        )
        assert told.exit_code == 0, told.output
        for path in ("/availability", "/tap/availability", "/sia/availability"):
            root = assert_valid_availability(client.get(path).content)
            assert root.findtext("{*}available") == "true"
            assert root.findtext("{*}downAt") == "2031-05-01T18:00:00Z"
            assert root.findtext("{*}backAt") == "2031-05-01T20:30:00Z"
            assert datetime.fromisoformat(_text(root, "upSince")) <= before
            notes = [each.text for each in root.findall("{*}note")]
            assert notes == ["accepting queries", "New disks & <more>"]
        CliRunner().invoke(cli.app, ["announce", "--clear", "--data-dir", str(tmp_path)])
        assert b"downAt" not in client.get("/availability").content


def _text(root: etree._Element, name: str) -> str:
    return root.findtext(f"{{*}}{name}") or ""

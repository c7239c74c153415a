"""``skyloom bench`` as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from app.bench.figures import TOPICS, Figure, advice, slowness
from app.bench.sample import write_sample
from tests.flows.service import Service


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Service:
    """A data folder with a few images; nobody serves it."""
    folder = tmp_path_factory.mktemp("bench")
    write_sample(folder / "images")
    made = Service(data_dir=folder / "data", environment={"SKYLOOM_WORKERS": "1"})
    made.run("ingest", str(folder / "images"), "--collection", "mine")
    return made


def files_of(folder: Path) -> dict[str, bytes]:
    """Every file and its content, but the lists of what SQLite shares in memory."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.endswith(("-shm", "-wal"))
    }


def named(figures: list[dict[str, Any]]) -> dict[str, Any]:
    return {each["name"]: each for each in figures}


def test_everything_is_measured_and_nothing_is_changed(service: Service) -> None:
    before = files_of(service.data_dir)
    told = json.loads(service.run("bench", "--json", "--seconds", "3000").stdout)
    assert files_of(service.data_dir) == before
    assert told["machine"]["cores"] >= 1 and told["machine"]["memory_bytes"] > 0
    sample, own = named(told["sample"]), named(told["own"])
    assert set(sample) == set(TOPICS)
    assert set(own) == {"query", "cone", "rows", "sia", "links", "cutout", "preview"}
    for each in (*sample.values(), *own.values()):
        assert each["value"] > 0.0 and each["note"] == ""
    assert sample["difference"]["value"] > sample["query"]["value"]
    assert told["reference_machine"] and isinstance(told["advice"], list)


def test_what_does_not_fit_into_the_time_is_told(tmp_path: Path) -> None:
    made = Service(data_dir=tmp_path / "none").run("bench", "--seconds", "5", check=False)
    assert made.returncode in (0, 1) and "no public images of your own" in made.stdout
    assert "times slower" in made.stdout and not (tmp_path / "none").exists()
    assert (made.returncode == 1) is ("the time is over" in made.stdout or "answer" in made.stdout)


def test_a_service_that_does_not_answer_is_told(tmp_path: Path) -> None:
    asked = ("bench", "--seconds", "5", "--url", "http://127.0.0.1:9")
    made = Service(data_dir=tmp_path).run(*asked, check=False)
    assert made.returncode == 2 and "cannot be measured" in made.stderr


def test_what_is_slow_is_told_with_the_setting_the_worst_first() -> None:
    times = {"query": 3.0, "difference": 5.0, "sia": 1.5}
    figures = [Figure(name, n * (TOPICS[name].reference or 0.0)) for name, n in times.items()]
    figures += [Figure("disk", (TOPICS["disk"].reference or 0.0) / 10, "MB/s")]
    lines = advice([*figures, Figure("cutout", None, note="503"), Figure("rows", 100.0)])
    assert [line.partition(":")[0] for line in lines] == [
        "disk of the data folder",
        "difference of 1000 × 1000 pixels",
        "TAP",
    ]
    assert "SKYLOOM_DATA_DIR" in lines[0] and "SKYLOOM_WORKERS" in lines[1]
    assert "10.0 times slower" in lines[0] and slowness(Figure("rows", 100.0)) is None

"""Queries run as jobs: whole results or none, and stops that are heeded."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from app.errors import (
    NotFoundError,
    ParameterError,
    StoppedError,
    StorageFullError,
    UnknownNameError,
    UnsupportedFormatError,
)
from app.services.executors import StopSignal
from app.services.parameters import ParameterSet
from app.services.query import QueryService, TapExecutor, parse_query_request
from app.stores.metadata import MetadataStores, open_stores
from app.stores.results import ResultStore
from app.uws.job import Job, Phase
from tests.databases import database_at
from tests.http.archive import make_uploads

COLUMNS = "SELECT column_name FROM tap_schema.columns"


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[MetadataStores]:
    url = database_at(tmp_path / "query.sqlite3")
    made = open_stores(url)
    yield made
    made.close()


@pytest.fixture
def results(tmp_path: Path) -> ResultStore:
    return ResultStore(data_dir=tmp_path)


@pytest.fixture
def executor(stores: MetadataStores, results: ResultStore) -> TapExecutor:
    queries = QueryService(
        tables=stores.tables,
        catalogs=stores.catalogs,
        default_rows=50,
        max_rows=70,
        time_limit_s=300,
    )
    return TapExecutor(
        queries=queries,
        uploads=make_uploads(results),
        results=results,
        default_service_url="http://default",
    )


def _job(query: str = COLUMNS, **more: str) -> Job:
    now = datetime.now(UTC)
    return Job(
        job_id="abc",
        kind="tap",
        phase=Phase.EXECUTING,
        parameters=(("QUERY", query), ("FORMAT", "csv"), *more.items()),
        creation_time=now,
        destruction=now + timedelta(days=1),
    )


def _silent(stage: str, done: int, total: int) -> None:
    """Progress that nobody reads."""


def _run(executor: TapExecutor, job: Job, *, stopped: bool = False) -> str:
    stop = StopSignal()
    if stopped:
        stop.set()
    (result,) = executor.run(job, stop, _silent) or ()
    assert result.result_id == "result"
    assert result.media_type == "text/csv;header=present"
    return result.path or ""


def content(results: ResultStore, path: str) -> bytes:
    """What a result file holds."""
    return b"".join(results.find(path).pieces())


@pytest.mark.parametrize(("maxrec", "rows"), [(None, 50), ("7", 7), ("60", 60), ("9999", 70)])
def test_row_limits(
    executor: TapExecutor, results: ResultStore, maxrec: str | None, rows: int
) -> None:
    more = {} if maxrec is None else {"MAXREC": maxrec}
    text = content(results, _run(executor, _job(**more))).decode()
    assert len(text.splitlines()) == rows + 1


def test_size_and_progress_are_told(executor: TapExecutor, results: ResultStore) -> None:
    told: list[tuple[str, int, int]] = []
    (result,) = executor.run(_job(), StopSignal(), lambda *step: told.append(step)) or ()
    assert result.size_bytes == len(content(results, result.path or ""))
    assert told[0][0] == "query"
    assert told[-1] == ("rows", 50, 0)


def test_a_stop_leaves_nothing(executor: TapExecutor, tmp_path: Path) -> None:
    with pytest.raises(StoppedError):
        _run(executor, _job(), stopped=True)
    assert list((tmp_path / "results").rglob("*.*")) == []
    assert not (tmp_path / "results" / "abc" / "result").exists()


def test_a_query_that_fails_leaves_nothing(executor: TapExecutor, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError):
        _run(executor, _job("SELECT nothing FROM tap_schema.columns"))
    with pytest.raises(UnsupportedFormatError):
        _run(executor, _job(RESPONSEFORMAT="gif"))
    assert not (tmp_path / "results").exists()


def test_connections_come_back(executor: TapExecutor, stores: MetadataStores) -> None:
    for _ in range(50):
        with pytest.raises(StoppedError):
            _run(executor, _job(), stopped=True)
    pool = stores.reader.pool
    assert getattr(pool, "checkedout")() == 0  # noqa: B009


def test_requests_are_read_and_checked() -> None:
    def parse(**given: str) -> object:
        return parse_query_request(ParameterSet(given.items()), service_url="http://x")

    request = parse(QUERY="q", maxrec="3", responseFormat="votable/b2", LANG="adql-2.1")
    assert getattr(request, "maxrec", None) == 3
    assert "binary2" in str(getattr(request, "media_type", ""))
    for wrong in ({"UPLOAD": "a,b"}, {"LANG": "PQL"}, {"REQUEST": "x"}, {"MAXREC": "x"}):
        with pytest.raises(ParameterError, match=next(iter(wrong))):
            parse(QUERY="q", **wrong)
    with pytest.raises(ParameterError, match="QUERY"):
        parse()


def test_result_files_are_whole_or_absent(results: ResultStore, tmp_path: Path) -> None:
    def failing(error: Exception) -> Iterator[bytes]:
        yield b"half"
        raise error

    with pytest.raises(StorageFullError) as full:
        results.write("job", "result", failing(OSError(errno.ENOSPC, "full")))
    assert str(tmp_path) not in str(full.value)
    with pytest.raises(ValueError, match="odd"):
        results.write("job", "result", failing(ValueError("odd")))
    assert list((tmp_path / "results").rglob("*")) == []
    path, size = results.write("job", "result", [b"ab", b"c"])
    assert (path, size) == ("results/job/result", 3)
    assert content(results, path) == b"abc"
    results.delete("job")
    with pytest.raises(NotFoundError):
        results.find(path)


@pytest.mark.parametrize("name", ["..", "a/b", "../x", "", "a\x00b"])
def test_names_cannot_leave_the_results_folder(results: ResultStore, name: str) -> None:
    with pytest.raises(NotFoundError):
        results.write(name, "result", [b""])
    with pytest.raises(NotFoundError):
        results.write("job", name, [b""])
    with pytest.raises(NotFoundError):
        results.find("../../etc/passwd")

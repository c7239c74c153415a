"""Queries of the page for people, when they are slow."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from app.config import Config
from app.errors import StoppedError
from app.main import create_app
from app.pages import router
from app.pages.router import QUERY_PLACES
from app.wiring_database import initialise
from tests.http.archive import serving
from tests.http.test_hang_up import BEFORE_THE_FIRST_ROW, sending
from tests.waiting import PATIENCE_S

SHARED_THREADS = 40
"""As many requests at a time have a thread of the server, whatever they ask."""


def test_slow_ones_hold_up_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = Config(data_dir=tmp_path)
    initialise(config)
    fetch = router.fetch
    go_on = threading.Event()
    begun = threading.Semaphore(0)

    def slowly(queries: Any, adql: str, **more: Any) -> Any:
        if "SLOW" in adql:
            begun.release()
            go_on.wait(PATIENCE_S)
        return fetch(queries, adql, **more)

    monkeypatch.setattr(router, "fetch", slowly)
    asked = {"QUERY": "SELECT TOP 1 obs_id AS SLOW FROM ivoa.ObsCore"}
    count = SHARED_THREADS + 5
    limits = httpx.Limits(max_connections=None)
    with (
        serving(create_app(config)) as url,
        httpx.Client(base_url=url, timeout=PATIENCE_S, limits=limits) as client,
        ThreadPoolExecutor(count) as threads,
    ):
        answers = [threads.submit(client.get, "/query", params=asked) for _ in range(count)]
        try:
            for _ in range(QUERY_PLACES):
                assert begun.acquire(timeout=PATIENCE_S)
            for path in ("/search", "/tap/availability", "/tap/async"):
                assert client.get(path).status_code == 200
            assert not any(answer.done() for answer in answers)
        finally:
            go_on.set()
        assert {answer.result().status_code for answer in answers} == {200}


def test_a_reader_who_leaves_stops_the_statement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = Config(data_dir=tmp_path, query_time_limit_s=600)
    initialise(config)
    fetch = router.fetch
    begun, stopped = threading.Event(), threading.Event()

    def watched(queries: Any, adql: str, **more: Any) -> Any:
        begun.set()
        try:
            return fetch(queries, adql, **more)
        except StoppedError:
            stopped.set()
            raise

    monkeypatch.setattr(router, "fetch", watched)
    with serving(create_app(config)) as url:
        with sending(url, f"/query?QUERY={quote(BEFORE_THE_FIRST_ROW)}"):
            assert begun.wait(PATIENCE_S) and not stopped.is_set()
        assert stopped.wait(PATIENCE_S)
        assert httpx.get(f"{url}/query", timeout=PATIENCE_S).status_code == 200

"""Long queries hold up neither short ones nor the answers about the service."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import httpx
import pytest

from app.http.lanes import LONG_SLOTS, SHORT_SLOTS
from app.stores.metadata import MetadataStores
from tests.http.test_hang_up import BEFORE_THE_FIRST_ROW, asking, running, url
from tests.waiting import PATIENCE_S, wait_for

__all__ = ["url"]

SHORT = {"LANG": "ADQL", "FORMAT": "csv", "QUERY": "SELECT TOP 1 table_name FROM tap_schema.tables"}
"""Answered while the long ones still run, which last for minutes."""


@pytest.fixture
def long_queries(url: str, stores: MetadataStores) -> Iterator[int]:
    """As many as there are short places, running until the test is over."""
    with ExitStack() as stack:
        for _ in range(SHORT_SLOTS):
            stack.enter_context(asking(url, BEFORE_THE_FIRST_ROW))
        wait_for(lambda: running(stores) == SHORT_SLOTS)
        yield SHORT_SLOTS
    wait_for(lambda: running(stores) == 0)


def test_short_requests_pass(url: str, stores: MetadataStores, long_queries: int) -> None:
    assert long_queries <= LONG_SLOTS
    with ThreadPoolExecutor(8) as threads, httpx.Client(base_url=url, timeout=PATIENCE_S) as client:
        paths = ["/tap/availability", "/tap/capabilities", "/tap/tables", "/tap/async"] * 3
        answers = list(threads.map(client.get, paths))
        answers += list(threads.map(lambda _: client.get("/tap/sync", params=SHORT), range(8)))
        assert [answer.status_code for answer in answers] == [200] * 20
        assert running(stores) == long_queries

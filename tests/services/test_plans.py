"""Compiled queries are kept, and batches are read ahead."""

from __future__ import annotations

import threading
from collections.abc import Generator

import pyarrow as pa
import pytest

from app.adql.compiled import CompiledQuery
from app.errors import StoppedError, UsageError
from app.schema.fields import Catalog
from app.services.plans import MAX_TEXT, PlanCache
from app.services.read_ahead import read_ahead
from app.stores.tables.base import FIRST_BATCH_ROWS
from app.stores.tables.control import StatementControl


def plan(sql: str) -> CompiledQuery:
    return CompiledQuery(sql=sql, binds={}, fields=(), maxrec=1, target="sqlite")


def test_a_query_is_compiled_once_for_a_catalog() -> None:
    cache, catalog = PlanCache(capacity=2), Catalog(())
    first = cache.get(("q", 1, "u"), catalog, lambda: plan("first"))
    assert cache.get(("q", 1, "u"), catalog, lambda: plan("second")) is first
    assert cache.get(("q", 2, "u"), catalog, lambda: plan("other")).sql == "other"
    assert cache.get(("q", 1, "v"), catalog, lambda: plan("third")).sql == "third"
    # The oldest had to go.
    assert cache.get(("q", 1, "u"), catalog, lambda: plan("again")).sql == "again"
    # An equal catalog that is another object may hold other tables in the database.
    assert cache.get(("q", 1, "u"), Catalog(()), lambda: plan("new")).sql == "new"


def test_a_long_query_is_not_kept() -> None:
    cache, catalog, key = PlanCache(), Catalog(()), ("x" * (MAX_TEXT + 1), 1, "u")
    cache.get(key, catalog, lambda: plan("first"))
    assert cache.get(key, catalog, lambda: plan("second")).sql == "second"


class Source:
    """Batches of one column; tells how many were made, in which threads, and when it closed."""

    def __init__(self, rows: list[int], fails: bool = False) -> None:
        self.rows = rows
        self.fails = fails
        self.made = 0
        self.threads: set[int] = set()
        self.closed = False

    def batches(self) -> Generator[pa.RecordBatch, None, None]:
        try:
            for count in self.rows:
                self.made += 1
                self.threads.add(threading.get_ident())
                yield pa.RecordBatch.from_pydict({"n": [self.made] * count})
            if self.fails:
                raise UsageError("broken")
        finally:
            self.closed = True


def test_batches_come_in_order_and_an_error_after_them() -> None:
    source = Source([FIRST_BATCH_ROWS, 5, 6, 7, 8, 9], fails=True)
    seen = []
    with pytest.raises(UsageError, match="broken"):
        for batch in read_ahead(source.batches(), StatementControl()):
            seen.append((batch.num_rows, batch.column(0)[0].as_py()))
    assert seen == [(FIRST_BATCH_ROWS, 1), (5, 2), (6, 3), (7, 4), (8, 5), (9, 6)]
    assert source.closed
    assert len(source.threads) == 2


def test_a_short_answer_stays_in_its_thread() -> None:
    source = Source([10])
    assert len(list(read_ahead(source.batches(), StatementControl()))) == 1
    assert source.threads == {threading.get_ident()}


def test_no_more_is_fetched_than_may_wait_and_closing_stops_it() -> None:
    source, control = Source([FIRST_BATCH_ROWS] * 1000), StatementControl()
    stream = read_ahead(source.batches(), control)
    next(stream)
    next(stream)
    stream.close()
    assert source.closed
    assert source.made < 10
    with pytest.raises(StoppedError):
        control.check()

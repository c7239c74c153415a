"""Queries on SQLite."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager

import pyarrow as pa
import sqlalchemy as sa

from app.adql.compiled import CompiledQuery
from app.errors import TimeLimitError
from app.stores.database_faults import database_faults
from app.stores.tables.base import TableStore
from app.stores.tables.batches import to_batch

_PROGRESS_STEPS = 2000
"""SQLite virtual-machine steps between two looks at the clock (tens of microseconds)."""


class SqliteTableStore(TableStore):
    """:class:`app.stores.tables.base.TableStore` on SQLite."""

    target = "sqlite"

    def stream(
        self,
        query: CompiledQuery,
        *,
        batch_rows: int = 10_000,
        time_limit_s: float | None = None,
    ) -> Generator[pa.RecordBatch, None, None]:
        """See :meth:`app.stores.tables.base.TableStore.stream`."""
        statement = sa.text(query.sql).bindparams(**query.binds).compile(self._engine)
        values = statement.params  # worked out anew at every look
        parameters = [values[name] for name in statement.positiontup or ()]
        deadline = _Deadline(time_limit_s)
        with deadline.faults(), database_faults(), self._reading(deadline) as cursor:
            cursor.execute(str(statement), parameters)
            rows = cursor.fetchmany(batch_rows)
            yield to_batch(rows, query.fields)
            while len(rows) == batch_rows:
                rows = cursor.fetchmany(batch_rows)
                if rows:
                    yield to_batch(rows, query.fields)

    @contextmanager
    def _reading(self, deadline: _Deadline) -> Iterator[sqlite3.Cursor]:
        """A cursor on a pooled connection that cannot write and stops at the deadline."""
        pooled = self._engine.raw_connection()
        connection = pooled.driver_connection
        if not isinstance(connection, sqlite3.Connection):
            raise TypeError(f"not a SQLite connection: {type(connection).__name__}")
        try:
            connection.execute("PRAGMA query_only = ON")
            connection.set_progress_handler(deadline.passed, _PROGRESS_STEPS)
            cursor = connection.cursor()
            yield cursor
            cursor.close()
        finally:
            connection.set_progress_handler(None, 0)
            connection.execute("PRAGMA query_only = OFF")
            pooled.close()


class _Deadline:
    """A moment after which a statement is interrupted."""

    def __init__(self, limit_s: float | None) -> None:
        self._limit_s = limit_s
        self._end_s = None if limit_s is None else time.monotonic() + limit_s

    def passed(self) -> int:
        """1 once the time is up (SQLite's progress handler interrupts on non-zero)."""
        return int(self._end_s is not None and time.monotonic() > self._end_s)

    @contextmanager
    def faults(self) -> Iterator[None]:
        """Name the limit when an interrupted statement fails."""
        try:
            yield
        except Exception as error:
            cause = error.__cause__
            if isinstance(cause, sqlite3.OperationalError) and "interrupted" in str(cause):
                raise TimeLimitError("The query", self._limit_s or 0.0) from cause
            raise

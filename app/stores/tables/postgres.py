"""Queries on PostgreSQL + pgSphere."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from itertools import islice
from typing import cast

import psycopg
import pyarrow as pa
import sqlalchemy as sa

from app.adql.compiled import CompiledQuery
from app.errors import TimeLimitError
from app.stores.database import postgres_connection
from app.stores.database_faults import database_faults
from app.stores.tables.base import TableStore
from app.stores.tables.batches import to_batch

_CHUNK_ROWS = 1000
"""Rows that libpq hands over at a time."""


class PostgresTableStore(TableStore):
    """:class:`app.stores.tables.base.TableStore` on PostgreSQL."""

    target = "postgres"

    def stream(
        self,
        query: CompiledQuery,
        *,
        batch_rows: int = 10_000,
        time_limit_s: float | None = None,
    ) -> Generator[pa.RecordBatch, None, None]:
        """See :meth:`app.stores.tables.base.TableStore.stream`.

        Rows come in libpq's chunked mode: unlike a declared cursor it keeps parallel plans, and
        never more than one chunk is held here.
        """
        statement = sa.text(query.sql).bindparams(**query.binds).compile(self._engine)
        deadline_s = None if time_limit_s is None else time.monotonic() + time_limit_s
        with (
            _named_limit(time_limit_s),
            database_faults(),
            self._reading(time_limit_s) as cursor,
        ):
            chunk_rows = min(batch_rows, _CHUNK_ROWS)
            source = cursor.stream(str(statement), statement.params, size=chunk_rows)
            # Closing the generator cancels what the server still has to send.
            with closing(cast("Generator[tuple[object]]", source)) as rows:
                yield from _batches(rows, query, batch_rows, deadline_s)

    @contextmanager
    def _reading(self, time_limit_s: float | None) -> Iterator[psycopg.Cursor[tuple[object]]]:
        """A cursor in a read-only transaction with the server's own time limit set."""
        pooled = self._engine.raw_connection()
        try:
            connection = postgres_connection(pooled)
            cursor = connection.cursor()
            cursor.execute("SET TRANSACTION READ ONLY")
            if time_limit_s is not None:
                limit_ms = max(1, round(time_limit_s * 1000))
                cursor.execute(f"SET LOCAL statement_timeout = {limit_ms:d}".encode())
            yield cursor
        finally:
            pooled.close()


def _batches(
    source: Iterator[tuple[object]],
    query: CompiledQuery,
    batch_rows: int,
    deadline_s: float | None,
) -> Iterator[pa.RecordBatch]:
    rows = list(islice(source, batch_rows))
    yield to_batch(rows, query.fields)
    while len(rows) == batch_rows:
        if deadline_s is not None and time.monotonic() > deadline_s:
            raise psycopg.errors.QueryCanceled("the time limit passed between batches")
        rows = list(islice(source, batch_rows))
        if rows:
            yield to_batch(rows, query.fields)


@contextmanager
def _named_limit(time_limit_s: float | None) -> Iterator[None]:
    """Name the limit when the server (or the check between batches) cancelled the statement."""
    try:
        yield
    except Exception as error:
        if isinstance(error.__cause__, psycopg.errors.QueryCanceled) and time_limit_s is not None:
            raise TimeLimitError("The query", time_limit_s) from error.__cause__
        raise

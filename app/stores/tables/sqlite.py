"""Queries on SQLite."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Generator, Iterator, MutableMapping, Sequence
from contextlib import closing, contextmanager
from itertools import chain, repeat
from typing import Any

import pyarrow as pa

from app.adql.compiled import CompiledQuery, Target
from app.errors import StoppedError, TimeLimitError
from app.schema.uploads import UploadedTable
from app.stores.database_faults import database_faults
from app.stores.sqlite_compiled import start_loading
from app.stores.sqlite_guard import guard_of
from app.stores.sqlite_native import native_sqlite
from app.stores.sqlite_statements import StatementShelf, shelf_of
from app.stores.tables.base import BATCH_ROWS, FIRST_BATCH_ROWS, TableStore
from app.stores.tables.batches import to_batch
from app.stores.tables.control import StatementControl
from app.stores.tables.cost import visited_rows
from app.stores.tables.uploads import drop_sqlite, load_sqlite

_PROGRESS_STEPS = 2000
"""SQLite virtual-machine steps between two looks at the clock (tens of microseconds)."""

_Connection = tuple[sqlite3.Connection, MutableMapping[Any, Any]]


class SqliteTableStore(TableStore):
    """:class:`app.stores.tables.base.TableStore` on SQLite."""

    @property
    def target(self) -> Target:
        """See :class:`app.stores.tables.base.TableStore`."""
        return "sqlite"

    def stream(
        self,
        query: CompiledQuery,
        *,
        batch_rows: int = BATCH_ROWS,
        time_limit_s: float | None = None,
        uploads: Sequence[UploadedTable] = (),
        control: StatementControl | None = None,
    ) -> Generator[pa.RecordBatch, None, None]:
        """See :meth:`app.stores.tables.base.TableStore.stream`."""
        start_loading()
        control = control or StatementControl()
        deadline = _Deadline(time_limit_s)
        sizes = chain([min(batch_rows, FIRST_BATCH_ROWS)], repeat(batch_rows))
        with (
            deadline.faults(),
            database_faults(),
            self._reading(uploads) as (connection, info),
        ):
            native = native_sqlite()
            shelf = None if native is None else shelf_of(native, info)
            if shelf is None:
                yield from _by_python(connection, query, sizes, deadline, control)
            else:
                yield from _by_machine(connection, shelf, query, sizes, deadline, control)

    def cost(self, query: CompiledQuery, uploads: Sequence[UploadedTable] = ()) -> float:
        """See :meth:`app.stores.tables.base.TableStore.cost`."""
        with database_faults(), self._reading(uploads, guarded=False) as (connection, _):
            return visited_rows(connection, query, uploads)

    @contextmanager
    def _reading(
        self, uploads: Sequence[UploadedTable], *, guarded: bool = True
    ) -> Iterator[_Connection]:
        """A pooled connection that cannot write and, ``guarded``, sees only what is published; and
        what the pool notes of it."""
        pooled = self._engine.raw_connection()
        connection = pooled.driver_connection
        if not isinstance(connection, sqlite3.Connection):
            raise TypeError(f"not a SQLite connection: {type(connection).__name__}")
        guard = guard_of(pooled.info)
        try:
            load_sqlite(connection, uploads)
            guard.open = not guarded
            yield connection, pooled.info
        finally:
            guard.open = True
            drop_sqlite(connection, uploads)
            pooled.close()


def _by_machine(
    connection: sqlite3.Connection,
    shelf: StatementShelf,
    query: CompiledQuery,
    sizes: Iterator[int],
    deadline: _Deadline,
    control: StatementControl,
) -> Iterator[pa.RecordBatch]:
    """The rows, read without the interpreter."""
    from app.stores.sqlite_native_reader import NativeStatement, Watch, watched

    watch = Watch(deadline.left_s(), control.pace)

    def interrupt() -> None:
        watch.cancel()
        connection.interrupt()

    with (
        control.running(interrupt),
        watched(shelf.native, shelf.handle, watch),
        closing(NativeStatement(shelf, query.sql, query.binds)) as statement,
    ):
        for batch in statement.batches(query, sizes):
            yield batch
            control.check()


def _by_python(
    connection: sqlite3.Connection,
    query: CompiledQuery,
    sizes: Iterator[int],
    deadline: _Deadline,
    control: StatementControl,
) -> Iterator[pa.RecordBatch]:
    """The rows by Python's own module."""
    # Asked as well as interrupted: a statement may start just after the interrupt.
    connection.set_progress_handler(
        lambda: control.cancelled or deadline.left_s() == 0.0, _PROGRESS_STEPS
    )
    try:
        with control.running(connection.interrupt), closing(connection.cursor()) as cursor:
            cursor.execute(query.sql, dict(query.binds))
            size = next(sizes)
            rows = cursor.fetchmany(size)
            yield to_batch(rows, query.fields)
            while len(rows) == size:
                control.check()
                size = next(sizes)
                rows = cursor.fetchmany(size)
                if rows:
                    yield to_batch(rows, query.fields)
    finally:
        connection.set_progress_handler(None, 0)


class _Deadline:
    """A moment after which a statement is interrupted."""

    def __init__(self, limit_s: float | None) -> None:
        self._limit_s = limit_s
        self._end_s = None if limit_s is None else time.monotonic() + limit_s

    def left_s(self) -> float | None:
        """Seconds that are left, 0 once the time is up, None without a limit."""
        return None if self._end_s is None else max(0.0, self._end_s - time.monotonic())

    @contextmanager
    def faults(self) -> Iterator[None]:
        """Name the limit when an interrupted statement fails."""
        try:
            yield
        except StoppedError:
            raise
        except Exception as error:
            cause = error.__cause__
            if isinstance(cause, sqlite3.OperationalError) and "interrupted" in str(cause):
                raise TimeLimitError("The query", self._limit_s or 0.0) from cause
            raise

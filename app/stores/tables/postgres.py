"""Queries on PostgreSQL."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from itertools import chain, islice, repeat
from typing import cast

import psycopg
import pyarrow as pa
import sqlalchemy as sa
from psycopg import pq

from app.adql.compiled import CompiledQuery, Target
from app.errors import StoppedError, TimeLimitError
from app.schema.fields import Field
from app.schema.uploads import UploadedTable
from app.stores.database import postgres_connection
from app.stores.database_faults import database_faults
from app.stores.postgres_native import NativeLibpq, native_libpq
from app.stores.postgres_roles import DEFAULT_READER, Reader
from app.stores.tables.base import BATCH_ROWS, FIRST_BATCH_ROWS, TableStore
from app.stores.tables.batches import to_batch
from app.stores.tables.control import StatementControl
from app.stores.tables.cost import planned_cost
from app.stores.tables.uploads import load_postgres

_CHUNK_ROWS = 256
"""Rows that libpq hands over at a time."""
_CANCEL_TIMEOUT_S = 5.0


class PostgresTableStore(TableStore):
    """:class:`app.stores.tables.base.TableStore` on PostgreSQL."""

    def __init__(self, *, engine: sa.Engine, role: str = DEFAULT_READER) -> None:
        super().__init__(engine=engine)
        self._reader = Reader(engine, role)

    @property
    def target(self) -> Target:
        """See :class:`app.stores.tables.base.TableStore`."""
        return "postgres"

    def stream(
        self,
        query: CompiledQuery,
        *,
        batch_rows: int = BATCH_ROWS,
        time_limit_s: float | None = None,
        uploads: Sequence[UploadedTable] = (),
        control: StatementControl | None = None,
    ) -> Generator[pa.RecordBatch, None, None]:
        """See :meth:`app.stores.tables.base.TableStore.stream`.

        Rows come in libpq's chunked mode: unlike a declared cursor it keeps parallel plans, and
        never more than one chunk is held here.
        """
        control = control or StatementControl()
        deadline_s = None if time_limit_s is None else time.monotonic() + time_limit_s
        sizes = chain([min(batch_rows, FIRST_BATCH_ROWS)], repeat(batch_rows))
        with (
            _named_limit(time_limit_s),
            database_faults(),
            self._reading(time_limit_s, uploads) as cursor,
            control.running(lambda: _cancel(cursor.connection)),
        ):
            native = native_libpq()
            if native is None:
                source = _by_psycopg(cursor, self._as_psycopg(query), query.fields, sizes)
            else:
                source = _by_machine(native, cursor.connection, query, sizes, control)
            with closing(source) as batches:
                for batch in batches:
                    yield batch
                    control.check()
                    if deadline_s is not None and time.monotonic() > deadline_s:
                        raise psycopg.errors.QueryCanceled("the time limit passed between batches")

    def cost(self, query: CompiledQuery, uploads: Sequence[UploadedTable] = ()) -> float:
        """See :meth:`app.stores.tables.base.TableStore.cost`."""
        with database_faults(), self._reading(None, uploads) as cursor:
            return planned_cost(cursor, self._as_psycopg(query))

    def _bounds(self, limit_ms: int, uploads: Sequence[UploadedTable]) -> Iterator[str]:
        """Statements that bind a transaction before a user's statement is run in it."""
        role = self._reader.name()
        if role is not None:
            for upload in uploads:
                yield f'GRANT SELECT ON pg_temp."{upload.table.physical}" TO {role}'
            yield f"SET LOCAL ROLE {role}"
        if uploads:
            yield "SET TRANSACTION READ ONLY"
        yield f"SET LOCAL statement_timeout = {limit_ms:d}"

    def _as_psycopg(self, query: CompiledQuery) -> sa.Compiled:
        return sa.text(query.sql).bindparams(**query.binds).compile(self._engine)

    @contextmanager
    def _reading(
        self, time_limit_s: float | None, uploads: Sequence[UploadedTable]
    ) -> Iterator[psycopg.Cursor[tuple[object]]]:
        """A cursor that can only read, with the server's own time limit set.

        The transaction can only read, sees what the role of readers may see, and takes uploads
        along when it ends.
        """
        pooled = self._engine.raw_connection()
        limit_ms = 0 if time_limit_s is None else max(1, round(time_limit_s * 1000))
        try:
            connection = postgres_connection(pooled)
            cursor = connection.cursor()
            bounds = "; ".join(self._bounds(limit_ms, uploads))
            if uploads:
                _send(connection, "BEGIN READ WRITE")
                load_postgres(cursor, uploads)
                _send(connection, bounds)
            else:
                _send(connection, f"BEGIN READ ONLY; {bounds}")
            yield cursor
        finally:
            if pooled.is_valid:
                _roll_back(postgres_connection(pooled))
            pooled.close()


def _send(connection: psycopg.Connection[tuple[object]], statements: str) -> None:
    """Run statements in one round trip."""
    result = connection.pgconn.exec_(statements.encode())
    if result.status != pq.ExecStatus.COMMAND_OK:
        raise psycopg.errors.error_from_result(result)


def _roll_back(connection: psycopg.Connection[tuple[object]]) -> None:
    """End the transaction in one call of libpq; what that leaves over, the pool ends, in five times
    the time."""
    states = (pq.TransactionStatus.INTRANS, pq.TransactionStatus.INERROR)
    if connection.pgconn.transaction_status in states:
        connection.pgconn.exec_(b"ROLLBACK")


def _cancel(connection: psycopg.Connection[tuple[object]]) -> None:
    """Ask the server to stop what the connection runs; a server that is gone has stopped it."""
    with suppress(psycopg.Error):
        connection.cancel_safe(timeout=_CANCEL_TIMEOUT_S)


def _by_machine(
    native: NativeLibpq,
    connection: psycopg.Connection[tuple[object]],
    query: CompiledQuery,
    sizes: Iterator[int],
    control: StatementControl,
) -> Generator[pa.RecordBatch, None, None]:
    """The rows, read without the interpreter."""
    from app.stores.postgres_native_reader import NativeResults

    with closing(NativeResults(native, connection, query.sql, query.binds)) as results:
        # Cancelled before the statement went out, the server has noticed nothing.
        control.check()
        yield from results.batches(query.fields, sizes)


def _by_psycopg(
    cursor: psycopg.Cursor[tuple[object]],
    statement: sa.Compiled,
    fields: Sequence[Field],
    sizes: Iterator[int],
) -> Generator[pa.RecordBatch, None, None]:
    """The rows as psycopg gives them."""
    source = cursor.stream(str(statement), statement.params, size=_CHUNK_ROWS)
    # Closing the generator cancels what the server still has to send.
    with closing(cast("Generator[tuple[object]]", source)) as rows:
        size = next(sizes)
        chunk = list(islice(rows, size))
        yield to_batch(chunk, fields)
        while len(chunk) == size:
            size = next(sizes)
            chunk = list(islice(rows, size))
            if chunk:
                yield to_batch(chunk, fields)


@contextmanager
def _named_limit(time_limit_s: float | None) -> Iterator[None]:
    """Name the limit when the server (or the check between batches) cancelled the statement."""
    try:
        yield
    except StoppedError:
        raise
    except Exception as error:
        if isinstance(error.__cause__, psycopg.errors.QueryCanceled) and time_limit_s is not None:
            raise TimeLimitError("The query", time_limit_s) from error.__cause__
        raise

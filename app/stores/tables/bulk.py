"""Rows by the tens of thousands into a database: arrow batches by COPY or executemany."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

import psycopg
import pyarrow as pa
import sqlalchemy as sa

from app.stores.database import sqlite_connection
from app.stores.sqlite_native import handle_of, native_sqlite

_CHUNK_BYTES = 1 << 20


def insert_batch(
    connection: sa.Connection, physical: str, names: Sequence[str], columns: Sequence[pa.Array]
) -> None:
    """Insert rows, given by columns, in the transaction of the connection.

    Columns hold integers, truth values, reals, text or bytes. On PostgreSQL the types of the table
    are the same to the bit; bytes are what another type receives in binary form.
    """
    if not names or not len(columns[0]):
        return
    # What is null everywhere need not be named.
    known = [n for n, column in enumerate(columns) if column.null_count < len(column)]
    names, columns = [names[n] for n in known], [columns[n] for n in known]
    quoted = ", ".join(f'"{name}"' for name in names)
    inner = connection.connection.driver_connection
    if isinstance(inner, sqlite3.Connection):
        marks = ", ".join("?" * len(names))
        run_for_rows(connection, f'INSERT INTO "{physical}" ({quoted}) VALUES ({marks})', columns)
        return
    if not isinstance(inner, psycopg.Connection):
        raise TypeError(f"no known driver: {type(inner).__name__}")
    with inner.cursor() as cursor:
        _copy(cursor, physical, quoted, columns)


def _copy(
    cursor: psycopg.Cursor[tuple[object]], table: str, quoted: str, columns: Sequence[pa.Array]
) -> None:
    from app.stores import postgres_native_writer as binary

    statement = f'COPY "{table}" ({quoted}) FROM STDIN (FORMAT binary)'
    with cursor.copy(statement.encode()) as copy:
        copy.write(binary.HEAD)
        rows = binary.copy_rows(columns)
        for start in range(0, len(rows), _CHUNK_BYTES):
            copy.write(rows[start : start + _CHUNK_BYTES])
        copy.write(binary.END)


def run_for_rows(connection: sa.Connection, statement: str, columns: Sequence[pa.Array]) -> None:
    """Run a statement of SQLite for each row of values (``?`` for each column)."""
    inner = sqlite_connection(connection)
    native, handle = native_sqlite(), handle_of(connection.info)
    if native is None or handle is None:
        inner.executemany(statement, zip(*(c.to_pylist() for c in columns), strict=True))
        return
    from app.stores import sqlite_native_writer

    sqlite_native_writer.run_for_rows(native, handle, statement, columns)

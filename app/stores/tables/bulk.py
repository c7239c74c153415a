"""Rows by the tens of thousands into a database: arrow batches by COPY or executemany."""

from __future__ import annotations

import io
import sqlite3
from collections.abc import Iterator, Sequence

import psycopg
import pyarrow as pa
import sqlalchemy as sa
from pyarrow import csv

from app.stores.database import sqlite_connection
from app.stores.sqlite_native import handle_of, native_sqlite

_CHUNK_BYTES = 1 << 20


def insert_batch(
    connection: sa.Connection, physical: str, names: Sequence[str], columns: Sequence[pa.Array]
) -> None:
    """Insert rows, given by columns, in the transaction of the connection."""
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
    table = pa.table(columns, [str(number) for number in range(len(names))])
    statement = f'COPY "{physical}" ({quoted}) FROM STDIN (FORMAT csv)'
    with inner.cursor() as cursor, cursor.copy(statement.encode()) as copy:
        for chunk in _csv(table):
            copy.write(chunk)


def _csv(rows: pa.Table) -> Iterator[memoryview]:
    """CSV in which every value but NULL is quoted, as COPY tells the two apart."""
    text = io.BytesIO()
    csv.write_csv(rows, text, csv.WriteOptions(include_header=False, quoting_style="all_valid"))
    view = text.getbuffer()
    for start in range(0, len(view), _CHUNK_BYTES):
        yield view[start : start + _CHUNK_BYTES]


def run_for_rows(connection: sa.Connection, statement: str, columns: Sequence[pa.Array]) -> None:
    """Run a statement of SQLite for each row of values (``?`` for each column)."""
    inner = sqlite_connection(connection)
    native, handle = native_sqlite(), handle_of(connection.info)
    if native is None or handle is None:
        inner.executemany(statement, zip(*(c.to_pylist() for c in columns), strict=True))
        return
    from app.stores import sqlite_native_writer

    sqlite_native_writer.run_for_rows(native, handle, statement, columns)

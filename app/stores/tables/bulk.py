"""Rows by the tens of thousands into a database: arrow batches by COPY or executemany."""

from __future__ import annotations

import io
import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any

import psycopg
import pyarrow as pa
import sqlalchemy as sa
from pyarrow import csv

_CHUNK_BYTES = 1 << 20


def insert_batch(
    connection: sa.Connection, physical: str, names: Sequence[str], columns: Sequence[pa.Array]
) -> None:
    """Insert rows, given by columns, in the transaction of the connection."""
    quoted = ", ".join(f'"{name}"' for name in names)
    inner = connection.connection.driver_connection
    if isinstance(inner, sqlite3.Connection):
        marks = ", ".join("?" * len(names))
        rows = zip(*(column.to_pylist() for column in columns), strict=True)
        inner.executemany(f'INSERT INTO "{physical}" ({quoted}) VALUES ({marks})', rows)
        return
    if not isinstance(inner, psycopg.Connection):
        raise TypeError(f"no known driver: {type(inner).__name__}")
    table = pa.table(list(columns), [str(number) for number in range(len(names))])
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


def insert_rows(connection: sa.Connection, statement: str, rows: Iterator[tuple[Any, ...]]) -> None:
    """Run a statement of SQLite for each of many rows."""
    inner = connection.connection.driver_connection
    if not isinstance(inner, sqlite3.Connection):
        raise TypeError(f"not a SQLite connection: {type(inner).__name__}")
    inner.executemany(statement, rows)

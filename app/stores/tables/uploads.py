"""Uploaded tables as temporary tables of one connection, loaded by columns."""

from __future__ import annotations

import io
import sqlite3
from collections.abc import Iterator, Sequence
from typing import Final

import psycopg
import pyarrow as pa
from pyarrow import csv

from app.adql.compiled import Target
from app.adql.spatial_index import (
    RegionColumns,
    figure_column,
    point_columns,
    region_text_column,
)
from app.schema.fields import Field
from app.schema.uploads import UploadedTable
from app.sky.figures import figure_text
from app.sky.shapes import Circle, Polygon
from app.sky.stcs import parse_region, polygon_from
from app.stores.tables.region_columns import bounds_text

_SQLITE_TYPES: Final = {"integer": "INTEGER", "real": "REAL", "boolean": "BOOLEAN"}
_POSTGRES_TYPES: Final = {"integer": "bigint", "real": "double precision", "boolean": "boolean"}
_CHUNK_BYTES: Final = 1 << 20
_FIGURE_TYPE: Final = "double precision[]"
"""What exact tests take (:mod:`app.sky.figures`)."""

Column = tuple[str, str, pa.Array | pa.ChunkedArray]
"""Name, SQL type and values."""


def load_sqlite(connection: sqlite3.Connection, uploads: Sequence[UploadedTable]) -> None:
    """Create and fill the temporary tables."""
    for upload in uploads:
        columns = list(_columns(upload, "sqlite"))
        marks = ", ".join("?" * len(columns))
        connection.execute("BEGIN")
        try:
            connection.execute(_create(upload, columns))
            rows = zip(*(values.to_pylist() for _, _, values in columns), strict=True)
            insert = f'INSERT INTO temp."{upload.table.physical}" VALUES ({marks})'
            connection.executemany(insert, rows)
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")


def drop_sqlite(connection: sqlite3.Connection, uploads: Sequence[UploadedTable]) -> None:
    """Drop what :func:`load_sqlite` made."""
    for upload in uploads:
        connection.execute(f'DROP TABLE IF EXISTS temp."{upload.table.physical}"')


def load_postgres(cursor: psycopg.Cursor[tuple[object]], uploads: Sequence[UploadedTable]) -> None:
    """Create and fill the temporary tables; they go with the transaction."""
    for upload in uploads:
        columns = list(_columns(upload, "postgres"))
        cursor.execute(f"{_create(upload, columns)} ON COMMIT DROP".encode())
        rows = pa.table([values for _, _, values in columns], [name for name, _, _ in columns])
        table = f'"{upload.table.physical}"'
        with cursor.copy(f"COPY {table} FROM STDIN (FORMAT csv)".encode()) as copy:
            for chunk in _csv(rows):
                copy.write(chunk)
        cursor.execute(f"ANALYZE {table}".encode())


def _create(upload: UploadedTable, columns: Sequence[Column]) -> str:
    described = ", ".join(f'"{name}" {sql_type}' for name, sql_type, _ in columns)
    return f'CREATE TEMPORARY TABLE "{upload.table.physical}" ({described})'


def _csv(rows: pa.Table) -> Iterator[memoryview]:
    """CSV in which every value but NULL is quoted."""
    text = io.BytesIO()
    options = csv.WriteOptions(include_header=False, quoting_style="all_valid")
    csv.write_csv(rows, text, options)
    view = text.getbuffer()
    for start in range(0, len(view), _CHUNK_BYTES):
        yield view[start : start + _CHUNK_BYTES]


def _columns(upload: UploadedTable, target: Target) -> Iterator[Column]:
    types, text = _POSTGRES_TYPES, 'text COLLATE "C"'
    if target == "sqlite":
        types, text = _SQLITE_TYPES, "TEXT"
    for field, values in zip(upload.table.fields, upload.rows.columns, strict=True):
        yield field.physical, types.get(field.kind, text), values
        if field.kind == "point":
            yield from _point_parts(field, values, types["real"])
        elif field.kind == "region":
            yield from _region_parts(field, values, text, target)


def _point_parts(field: Field, values: pa.ChunkedArray, sql_type: str) -> Iterator[Column]:
    pairs = [None if v is None else v.split() for v in values.to_pylist()]
    for place, name in enumerate(point_columns(field.physical)):
        numbers = [None if pair is None else float(pair[place]) for pair in pairs]
        yield name, sql_type, pa.array(numbers, pa.float64())


def _region_parts(
    field: Field, values: pa.ChunkedArray, text: str, target: Target
) -> Iterator[Column]:
    shapes = [None if value is None else _shape(field, value) for value in values.to_pylist()]
    if region_text_column(field) != field.physical:
        texts = [None if shape is None else _stcs(shape) for shape in shapes]
        yield region_text_column(field), text, pa.array(texts, pa.string())
    if target == "sqlite":
        return
    figures = [None if shape is None else figure_text(shape) for shape in shapes]
    yield figure_column(field.physical), _FIGURE_TYPE, pa.array(figures, pa.string())
    bounds = [None if shape is None else bounds_text(shape) for shape in shapes]
    yield RegionColumns.of(field.physical).bounds, "box", pa.array(bounds, pa.string())


def _shape(field: Field, value: str) -> Circle | Polygon:
    """The shape of a value that the reader has found to be one."""
    if field.datatype == "double":
        numbers = [float(word) for word in value.split()]
        return Circle(*numbers) if field.xtype == "circle" else polygon_from(value, numbers)
    region = parse_region(value)
    assert isinstance(region, Circle | Polygon)
    return region


def _stcs(shape: Circle | Polygon) -> str:
    if isinstance(shape, Circle):
        return f"CIRCLE ICRS {shape.lon_deg!r} {shape.lat_deg!r} {shape.radius_deg!r}"
    return "POLYGON ICRS " + " ".join(repr(x) for vertex in shape.vertices for x in vertex)

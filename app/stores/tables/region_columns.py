"""PostgreSQL: what lies beside a region column for its index and its tests."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from app.adql.spatial_index import PLANE_SCALE, RegionColumns, outline_index
from app.errors import UsageError
from app.sky.bulk_regions import polygons_of
from app.sky.predicates import bounding_circle
from app.sky.shapes import Polygon, Region
from app.sky.stcs import parse_region
from app.sky.tangent_planes import (
    NOT_INSIDE_RAD,
    OUTER_MARGIN_RAD,
    TangentPolygons,
    tangent_polygons,
)
from app.sky.vectors import unit_vector
from app.stores.tables.bulk import insert_batch

NameOf = Callable[[int], str]
"""What a message calls the region in this place."""


def add_columns(table: str, column: str) -> Iterator[str]:
    """SQL that puts the columns beside a region column."""
    for name, sql_type in RegionColumns.of(column).types():
        yield f'ALTER TABLE "{table}" ADD COLUMN "{name}" {sql_type}'


def drop_columns(table: str, column: str) -> Iterator[str]:
    """SQL that takes them away; the index of them goes with them."""
    for name, _ in RegionColumns.of(column).types():
        yield f'ALTER TABLE "{table}" DROP COLUMN "{name}"'


def create_index(table: str, column: str) -> str:
    """SQL of the index."""
    name, bounds = outline_index(table, column), RegionColumns.of(column).bounds
    return f'CREATE INDEX "{name}" ON "{table}" USING gist ("{bounds}")'


def region_values(
    column: str,
    texts: pa.Array,
    name_of: NameOf,
    *,
    is_binary: bool = False,
) -> Mapping[str, pa.Array]:
    """Values of the columns beside ``column``: geometries as text, or with ``is_binary`` as
    PostgreSQL receives them in binary form.

    ``texts`` are ``POLYGON ICRS …`` or null. Raises UsageError, calling the region by its name,
    when one is no polygon.
    """
    names = RegionColumns.of(column)
    polygons = polygons_of(texts)
    shapes = tangent_polygons(polygons)
    known = texts.is_valid().to_numpy(zero_copy_only=False)
    columns = {
        names.x: polygons.centres[:, 0],
        names.y: polygons.centres[:, 1],
        names.z: polygons.centres[:, 2],
        names.inner: shapes.inner,
        names.outer: shapes.outer,
    }
    for row in np.flatnonzero(known & ~polygons.plain).tolist():
        polygon = polygon_in(texts[row].as_py(), name_of(row))
        _put_circle(columns.values(), shapes.bounds, row, polygon)
    boxes = _boxes if is_binary else _box_texts
    planes = _planes if is_binary else _plane_texts
    return {
        names.bounds: boxes(shapes.bounds, known),
        **{name: pa.array(values, mask=~known) for name, values in columns.items()},
        names.plane: planes(polygons.starts, shapes),
    }


def put_beside(
    connection: sa.Connection, table: str, column: str, chunks: Iterable[Sequence[tuple[Any, ...]]]
) -> int:
    """Fill the columns beside a region column from chunks of (row_id, text); how many rows.

    Raises UsageError, naming the row, when a text is no polygon.
    """
    types = dict(RegionColumns.of(column).types())
    new = f"{table}_{column}_new"
    described = ", ".join(f'"{name}" {sql_type}' for name, sql_type in types.items())
    connection.exec_driver_sql(
        f'CREATE TEMPORARY TABLE "{new}" (row_id bigint PRIMARY KEY, {described})'
    )
    count = 0
    for rows in chunks:
        row_ids, texts = zip(*rows, strict=True)
        values = region_values(
            column, pa.array(texts, pa.string()), partial(_row, row_ids), is_binary=True
        )
        numbers = pa.array(row_ids, pa.int64())
        insert_batch(connection, new, ("row_id", *values), (numbers, *values.values()))
        count += len(rows)
    changes = ", ".join(f'"{name}" = n."{name}"' for name in types)
    connection.exec_driver_sql(
        f'UPDATE "{table}" AS t SET {changes} FROM "{new}" AS n WHERE n.row_id = t.row_id'
    )
    connection.exec_driver_sql(f'DROP TABLE "{new}"')
    return count


def _row(row_ids: Sequence[int], place: int) -> str:
    return f"row {row_ids[place]}"


def polygon_in(text: object, name: str) -> Polygon:
    """The polygon of a text. Raises UsageError when it is none."""
    region = parse_region(str(text))
    if not isinstance(region, Polygon):
        raise UsageError(f"s_region of {name} is not a POLYGON")
    return region


def bounds_text(region: Region) -> str:
    """Longitudes and latitudes (deg) of the circle about a region, as PostgreSQL's ``box``."""
    circle = bounding_circle(region)
    reach = circle.radius_deg + math.degrees(OUTER_MARGIN_RAD)
    low, high = max(circle.lat_deg - reach, -90.0), min(circle.lat_deg + reach, 90.0)
    west, east = -1.0, 361.0
    if abs(circle.lat_deg) + reach < 89.9:
        sine = math.sin(math.radians(reach)) / math.cos(math.radians(circle.lat_deg))
        aside = math.degrees(math.asin(sine))
        lon = circle.lon_deg % 360.0
        if aside < lon < 360.0 - aside:
            west, east = lon - aside, lon + aside
    return f"{west!r},{low!r},{east!r},{high!r}"


def _put_circle(columns: Any, bounds: Any, row: int, polygon: Polygon) -> None:
    """What is known of a polygon that the bulk reader left alone: the circle about it."""
    circle = bounding_circle(polygon)
    radius = math.radians(circle.radius_deg) + OUTER_MARGIN_RAD
    values = (*unit_vector(circle.lon_deg, circle.lat_deg), NOT_INSIDE_RAD, radius)
    for column, value in zip(columns, values, strict=True):
        column[row] = value
    bounds[row] = [float(number) for number in bounds_text(polygon).split(",")]


def _boxes(bounds: Any, known: Any) -> pa.Array:
    """As ``box_recv`` has them: two corners."""
    return _binary(bounds.astype(">f8").view(np.uint8), 32 * np.arange(len(known) + 1), known)


def _box_texts(bounds: Any, known: Any) -> pa.Array:
    return _joined(bounds.ravel(), 4 * np.arange(len(known) + 1), known)


def _planes(starts: Any, shapes: TangentPolygons) -> pa.Array:
    """As ``poly_recv`` has them: the number of vertices, then each."""
    sizes = np.diff(starts)
    rows = np.repeat(np.arange(len(sizes)), sizes)
    heads = 4 * starts[:-1] + np.arange(len(sizes))
    words = np.empty(4 * int(starts[-1]) + len(sizes), np.uint32)
    words[heads] = sizes.astype(">u4").view(np.uint32)
    places = 4 * np.arange(len(rows)) + rows + 1
    corners = (PLANE_SCALE * shapes.corners).astype(">f8").view(np.uint32).reshape(-1, 4)
    words[places[:, None] + np.arange(4)] = corners
    return _binary(words, 4 * np.append(heads, len(words)), shapes.has_plane)


def _plane_texts(starts: Any, shapes: TangentPolygons) -> pa.Array:
    return _joined(PLANE_SCALE * shapes.corners, 2 * starts, shapes.has_plane)


def _binary(content: Any, offsets: Any, known: Any) -> pa.Array:
    """Bytes between offsets, null where nothing is known."""
    buffers = [None, pa.py_buffer(offsets.astype(np.int32)), pa.py_buffer(content)]
    values = pa.Array.from_buffers(pa.binary(), len(known), buffers)
    return pc.if_else(pa.array(known), values, pa.scalar(None, pa.binary()))


def _joined(numbers: Any, starts: Any, known: Any) -> pa.Array:
    """Rows of numbers as text with commas, null where nothing is known."""
    texts = pa.array(numbers).cast(pa.string())
    rows = pc.binary_join(pa.ListArray.from_arrays(pa.array(starts, pa.int32()), texts), ",")
    return pc.if_else(pa.array(known), rows, pa.scalar(None, pa.string()))

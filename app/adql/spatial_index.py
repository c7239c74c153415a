"""The spatial indexes that the stores keep, and when a query can use one.

Regions lie in the database as STC-S text. For every region column of a published table there is an
outline index, for every pair of position columns a position index; both know rows by ``row_id``.
"""

from __future__ import annotations

from dataclasses import dataclass

from app.adql.typed import Column, Expression, Geometry, PointOf
from app.adql.walk import columns_in
from app.schema.fields import Field
from app.schema.uploads import UPLOAD_SCHEMA


def outline_index(physical: str, column: str) -> str:
    """The spatial index of a region column (its name in the database).

    SQLite: an R*Tree (row_id, x_min … z_max, outline) over boxes of unit vectors. PostgreSQL: the
    GiST index on the column that :func:`region_polygon_column` names.
    """
    return f"{physical}_{column}_outline"


def position_index(physical: str, lon: str) -> str:
    """The spatial index of a pair of position columns, called after the longitude.

    SQLite: an R*Tree (row_id, x_min … z_max) over unit vectors. PostgreSQL: the GiST index on
    :func:`plane_position`.
    """
    return f"{physical}_{lon}_position"


def plane_position(lon: str, lat: str) -> str:
    """PostgreSQL: what is indexed of two columns, a point of the plane. Its longitude lies between
    0 and 360; ``adql_reach`` and ``adql_frame`` make the boxes that search for it."""
    lon, lat = (f"CAST({column} AS double precision)" for column in (lon, lat))
    return f"point({lon} - 360 * floor({lon} / 360), {lat})"


def region_polygon_column(column: str) -> str:
    """PostgreSQL: the ``spoly`` column, under a GiST index, beside a region column."""
    return f"{column}_spoly"


def region_text_column(field: Field) -> str:
    """The column that holds a region as STC-S text: its own, or one beside DALI numbers."""
    return f"{field.physical}_stcs" if field.datatype == "double" else field.physical


def point_columns(column: str) -> tuple[str, str]:
    """The columns of longitude and latitude (deg) beside a column of kind ``point``."""
    return f"{column}_lon", f"{column}_lat"


@dataclass(frozen=True, slots=True)
class IndexUse:
    """An index that can find the rows of ``target``: a region column, or the longitude of a pair.

    ``other`` is what they are compared with; it does not depend on the same row.
    """

    name: str
    target: Column
    other: Geometry


def find_index(a: Geometry, b: Geometry) -> IndexUse | None:
    """The index that serves a relation between two geometries.

    Of two that could, that of the later table in FROM, so that a join goes from left to right.
    """
    uses = [use for use in (_use_of(a, b), _use_of(b, a)) if use is not None]
    return max(uses, key=lambda use: use.target.source, default=None)


def _use_of(geometry: Geometry, other: Geometry) -> IndexUse | None:
    target = _indexed_region(geometry) or _indexed_position(geometry)
    if target is None or target.row in rows_of(other):
        return None
    table = target.table.physical
    if target.kind == "region":
        return IndexUse(outline_index(table, target.field.physical), target, other)
    return IndexUse(position_index(table, target.field.physical), target, other)


def _indexed_region(geometry: Geometry) -> Column | None:
    if not isinstance(geometry, Column) or geometry.kind != "region":
        return None
    return geometry if _is_published(geometry) else None


def _indexed_position(geometry: Geometry) -> Column | None:
    if not isinstance(geometry, PointOf):
        return None
    lon, lat = geometry.lon, geometry.lat
    if not (isinstance(lon, Column) and isinstance(lat, Column)) or lon.row != lat.row:
        return None
    pair = (lon.field.physical, lat.field.physical)
    return lon if pair in lon.table.positions and _is_published(lon) else None


def _is_published(column: Column) -> bool:
    """Uploaded tables have no indexes, nor has what a subquery computes."""
    return column.is_stored and column.table.schema_name != UPLOAD_SCHEMA


def rows_of(expression: Expression) -> set[tuple[int, int]]:
    """The rows that an expression depends on."""
    return {column.row for column in columns_in(expression)}

"""The spatial indexes that the stores keep, and when a query can use one.

Regions lie in the database as STC-S text. For every region column of a published table there is an
outline index, for every pair of position columns a position index; both know rows by ``row_id``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from app.adql.typed import CircleOf, Column, Constant, Expression, Geometry, PointOf
from app.adql.walk import columns_in
from app.schema.fields import Field
from app.schema.uploads import UPLOAD_SCHEMA
from app.sky.shapes import Range


def outline_index(physical: str, column: str) -> str:
    """The spatial index of a region column (its name in the database).

    SQLite: an R*Tree (row_id, x_min … z_max, outline) over boxes of unit vectors. PostgreSQL: the
    GiST index on the bounds among :class:`RegionColumns`.
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


@dataclass(frozen=True, slots=True)
class RegionColumns:
    """PostgreSQL: the columns beside a region column of a published table.

    ``bounds`` is a ``box`` of longitude and latitude (deg), all longitudes for what holds a pole or
    longitude 0; ``x``, ``y`` and ``z`` are the unit vector of the centre, ``inner`` and ``outer``
    the radii (rad) of circles about it within and around the region; ``plane`` is the ``polygon``
    in the plane that touches the sky at the centre (:data:`PLANE_SCALE` units a radian).
    """

    bounds: str
    x: str
    y: str
    z: str
    inner: str
    outer: str
    plane: str

    @classmethod
    def of(cls, column: str) -> RegionColumns:
        """Their names."""
        return cls(*(f"{column}_{each}" for each in _BESIDE))

    def types(self) -> Iterator[tuple[str, str]]:
        """Each name with its type in SQL."""
        yield self.bounds, "box"
        for name in (self.x, self.y, self.z, self.inner, self.outer):
            yield name, "double precision"
        yield self.plane, "polygon"


_BESIDE: Final = ("bounds", "x", "y", "z", "inner", "outer", "plane")

PLANE_SCALE: Final = 32768.0
"""PostgreSQL's polygons compare within 1e-6 of their unit: 6 microarcseconds of the sky."""


def region_text_column(field: Field) -> str:
    """The column that holds a region as STC-S text: its own, or one beside DALI numbers."""
    return f"{field.physical}_stcs" if field.datatype == "double" else field.physical


def figure_column(column: str) -> str:
    """PostgreSQL: the numbers (:mod:`app.sky.figures`) beside a region column of an upload."""
    return f"{column}_figure"


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


def find_centre_index(circle: Geometry, point: Geometry) -> IndexUse | None:
    """The index that finds the circles which may hold a point, by their centres: these lie no
    farther from it than the radius, which must not depend on the same row."""
    if not isinstance(circle, CircleOf) or point.kind != "point":
        return None
    use = _use_of(PointOf(circle.lon, circle.lat), point)
    return None if use is None or use.target.row in rows_of(circle.radius) else use


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
    return geometry if is_published(geometry) else None


def _indexed_position(geometry: Geometry) -> Column | None:
    if not isinstance(geometry, PointOf):
        return None
    lon, lat = geometry.lon, geometry.lat
    if not (isinstance(lon, Column) and isinstance(lat, Column)) or lon.row != lat.row:
        return None
    pair = (lon.field.physical, lat.field.physical)
    return lon if pair in lon.table.positions and is_published(lon) else None


def is_range(shape: Geometry) -> bool:
    """Whether a shape is a coordinate range, whose sides are no great circles."""
    return isinstance(shape, Constant) and isinstance(shape.shape, Range)


def is_published(column: Column) -> bool:
    """Uploaded tables have no indexes, nor has what a subquery computes."""
    return column.is_stored and column.table.schema_name != UPLOAD_SCHEMA


def rows_of(expression: Expression) -> set[tuple[int, int]]:
    """The rows that an expression depends on."""
    return {column.row for column in columns_in(expression)}

"""What SQLite must be taught of geometries: the functions that compiled queries call.

A geometry is the bytes of an outline (:mod:`app.sky.outlines`) or STC-S text. NULL and whatever is
no geometry (a negative radius, a latitude beyond the pole, edges that cross) give NULL. The store
puts compiled code in the place of these where it can; both give the same answers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import astuple
from functools import lru_cache
from typing import Any, Final

from app.errors import RegionError
from app.sky.areas import prepare
from app.sky.boxes import Box, box_of
from app.sky.dali import format_shape
from app.sky.outlines import outline_of, shape_of
from app.sky.predicates import (
    area_deg2,
    centroid,
    contains_point,
    great_circle_deg,
    shape_contains,
    shapes_intersect,
)
from app.sky.shapes import Circle, Point, Polygon, Range, Shape
from app.sky.stcs import box_from, parse_region, polygon_from, simple_polygon_from
from app.sky.vectors import RADIANS_PER_DEGREE, unit_vector

MAX_RADIUS_DEG: Final = 180.0

Number = int | float
Stored = bytes | str | None
"""A geometry as SQLite hands it over."""


@lru_cache(maxsize=16384)
def _shape(value: Stored) -> Shape | None:
    """The shape a value means, or None."""
    try:
        if isinstance(value, bytes):
            return shape_of(value)
        return parse_region(value) if isinstance(value, str) else None
    except RegionError:
        return None


@lru_cache(maxsize=1024)
def _box(value: Stored) -> Box | None:
    shape = _shape(value)
    return None if shape is None else box_of(shape)


def _point_of(lon: Any, lat: Any) -> Point | None:
    if not (isinstance(lon, Number) and isinstance(lat, Number)):
        return None
    return Point(float(lon), float(lat)) if math.isfinite(lon) and abs(lat) <= 90.0 else None


def _outline(value: Stored) -> bytes | None:
    shape = _shape(value)
    return None if shape is None else outline_of(shape)


def _point(lon: Any, lat: Any) -> bytes | None:
    point = _point_of(lon, lat)
    return None if point is None else outline_of(point)


def _circle(lon: Any, lat: Any, radius: Any) -> bytes | None:
    point = _point_of(lon, lat)
    if point is None or not isinstance(radius, Number) or not 0.0 <= radius <= MAX_RADIUS_DEG:
        return None
    return outline_of(Circle(point.lon_deg, point.lat_deg, float(radius)))


def _box_outline(lon: Any, lat: Any, width: Any, height: Any) -> bytes | None:
    numbers = [lon, lat, width, height]
    if _point_of(lon, lat) is None or not all(isinstance(x, Number) for x in numbers):
        return None
    try:
        box = box_from("", [float(lon) % 360.0, *map(float, numbers[1:])])
        return outline_of(polygon_from("", [x for vertex in box.vertices for x in vertex]))
    except RegionError:
        return None


def _box_text(lon: Any, lat: Any, width: Any, height: Any) -> str | None:
    """DALI text of the corners."""
    outline = _box_outline(lon, lat, width, height)
    return None if outline is None else format_shape(shape_of(outline))


def _polygon(*numbers: Any) -> bytes | None:
    pairs = list(zip(numbers[0::2], numbers[1::2], strict=True))
    if any(_point_of(lon, lat) is None for lon, lat in pairs):
        return None
    try:
        values = [x for lon, lat in pairs for x in (float(lon) % 360.0, float(lat))]
        return outline_of(simple_polygon_from("", values))
    except RegionError:
        return None


def _contains_point(region: Stored, lon: Any, lat: Any) -> int | None:
    shape, point = _shape(region), _point_of(lon, lat)
    if shape is None or point is None:
        return None
    return int(shape_contains(shape, point))


def _contains(outer: Stored, inner: Stored) -> int | None:
    a, b = _shape(outer), _shape(inner)
    return None if a is None or b is None else int(shape_contains(a, b))


def _intersects(first: Stored, second: Stored) -> int | None:
    a, b = _shape(first), _shape(second)
    return None if a is None or b is None else int(shapes_intersect(a, b))


def _meets_range(
    region: Stored, lon_min: float, lon_max: float, lat_min: float, lat_max: float
) -> int | None:
    """Whether a polygon meets a coordinate range (deg)."""
    shape = _shape(region)
    if not isinstance(shape, Polygon):
        return None
    return int(shapes_intersect(shape, Range(lon_min, lon_max, lat_min, lat_max)))


def _bound(value: Stored, place: int) -> float | None:
    """x_min, x_max … z_max by number, in the order of :class:`app.sky.boxes.Box`."""
    box = _box(value)
    return None if box is None else float(astuple(box)[int(place)])


def _region_distance(region: Stored, lon: Any, lat: Any) -> float | None:
    shape, point = _shape(region), _point_of(lon, lat)
    if shape is None or point is None:
        return None
    if isinstance(shape, Point):
        return great_circle_deg(shape.lon_deg, shape.lat_deg, point.lon_deg, point.lat_deg)
    if contains_point(shape, point):
        return 0.0
    v = unit_vector(point.lon_deg, point.lat_deg)
    return prepare(shape).rim_distance(v) / RADIANS_PER_DEGREE


def _region_size(region: Stored) -> float | None:
    shape = _shape(region)
    if shape is None:
        return None
    return 0.0 if isinstance(shape, Point) else area_deg2(shape)


def _centroid(region: Stored, place: int) -> float | None:
    shape = _shape(region)
    if shape is None:
        return None
    middle = shape if isinstance(shape, Point) else centroid(shape)
    return middle.lat_deg if place else middle.lon_deg


def _distance(lon1: Any, lat1: Any, lon2: Any, lat2: Any) -> float | None:
    if _point_of(lon1, lat1) is None or _point_of(lon2, lat2) is None:
        return None
    return great_circle_deg(lon1, lat1, lon2, lat2)


FUNCTIONS: Final[tuple[tuple[str, int, Callable[..., Any]], ...]] = (
    ("adql_outline", 1, _outline),
    ("adql_point", 2, _point),
    ("adql_circle", 3, _circle),
    ("adql_box", 4, _box_outline),
    ("adql_box_text", 4, _box_text),
    ("adql_polygon", -1, _polygon),
    ("adql_contains_point", 3, _contains_point),
    ("adql_contains", 2, _contains),
    ("adql_intersects", 2, _intersects),
    ("adql_meets_range", 5, _meets_range),
    ("adql_box_side", 2, _bound),
    ("adql_region_distance", 3, _region_distance),
    ("adql_region_size", 1, _region_size),
    ("adql_centroid", 2, _centroid),
    ("adql_distance", 4, _distance),
)
"""(name, number of arguments or -1, function)."""

"""PostgreSQL: what is asked of a shape before SQL is written."""

from __future__ import annotations

from collections.abc import Iterator
from math import cos, radians
from typing import Final

from app.adql import typed
from app.adql.postgres_caps import constant_plane
from app.adql.spatial_index import is_published
from app.adql.typed import Expression
from app.sky.shapes import Circle, Polygon, Range

HEMISPHERE_DEG: Final = 90.0
"""Larger circles are asked of the circle left of the sky."""
_MARGIN_DEG: Final = 6e-7
"""Ten times the predicates' fuzz."""


def centre_of(circle: typed.CircleOf) -> typed.PointOf:
    """The centre of a circle."""
    return typed.PointOf(circle.lon, circle.lat)


def beyond_hemisphere(shape: typed.Geometry) -> bool:
    """Whether a shape is a circle beyond a hemisphere."""
    if not isinstance(shape, typed.Constant) or not isinstance(shape.shape, Circle):
        return False
    return shape.shape.radius_deg > HEMISPHERE_DEG


def is_indexed(shape: typed.Geometry) -> bool:
    """Whether a shape is a region column of a published table."""
    return isinstance(shape, typed.Column) and shape.kind == "region" and is_published(shape)


def is_plain(*numbers: Expression) -> bool:
    """Whether numbers may be written many times over at no cost."""
    return all(isinstance(number, typed.Column | typed.Literal) for number in numbers)


def is_circle(shape: typed.Geometry) -> bool:
    """Whether a shape is a circle, constant or computed."""
    is_constant = isinstance(shape, typed.Constant) and isinstance(shape.shape, Circle)
    return is_constant or isinstance(shape, typed.CircleOf)


def known_plane(shape: typed.Geometry) -> str | None:
    """The text of a known polygon in the plane that touches it; None where that may not judge."""
    known = shape.shape if isinstance(shape, typed.Constant) else None
    return constant_plane(known) if isinstance(known, Polygon) else None


def range_frames(box: Range) -> Iterator[tuple[float, float, float, float]]:
    """Frames (lon, lat, lon, lat; deg) in which the indexed bounds of regions lie that a coordinate
    range meets: itself, and what of it lies beyond the seam at longitude 0. Bounds of regions that
    hold a pole or longitude 0 have all longitudes."""
    south, north = box.lat_min_deg - _MARGIN_DEG, box.lat_max_deg + _MARGIN_DEG
    span = box.lon_max_deg - box.lon_min_deg
    aside = min(_MARGIN_DEG / max(cos(radians(max(abs(south), abs(north)))), _MARGIN_DEG), 1.0)
    west = box.lon_min_deg % 360.0 - aside
    east = west + 2.0 * aside + span % 360.0
    if span >= 360.0 or east - west >= 360.0:
        yield -1.0, south, 361.0, north
        return
    yield west, south, east, north
    if west <= 0.0:
        yield west + 360.0, south, 361.0, north
    if east >= 360.0:
        yield -1.0, south, east - 360.0, north


def great_circle(lon1: str, lat1: str, lon2: str, lat2: str) -> str:
    """The formula of :func:`app.sky.predicates.great_circle_deg`, sign for sign. OFFSET 0 keeps the
    planner from merging the steps, which would write the arguments out many times over."""
    angles = (
        f"SELECT radians({lat1}) AS b1, radians({lat2}) AS b2,"
        f" radians({lon2}) - radians({lon1}) AS d OFFSET 0"
    )
    parts = (
        "SELECT cos(b2) * sin(d) AS e,"
        " cos(b1) * sin(b2) - sin(b1) * cos(b2) * cos(d) AS n,"
        " sin(b1) * sin(b2) + cos(b1) * cos(b2) * cos(d) AS u"
        f" FROM ({angles}) AS g WHERE greatest(abs(b1), abs(b2)) <= radians(90) OFFSET 0"
    )
    return f"(SELECT degrees(atan2(sqrt(e * e + n * n), u)) FROM ({parts}) AS h)"

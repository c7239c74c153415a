"""PostgreSQL: most questions about regions settled by two circles about a centre of each.

One circle lies within the region, the other holds it. pgSphere's own tests cost 10 to 300
microseconds a row; they stand last in a CASE, for rows that the circles leave open.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from app.adql.spatial_index import PLANE_SCALE
from app.sky.areas import CircleArea, RangeArea, prepare
from app.sky.shapes import Circle, Point, Polygon
from app.sky.tangent_planes import NOT_INSIDE_RAD, OUTER_MARGIN_RAD
from app.sky.vectors import FUZZ_RAD, unit_vector

_FUZZ: Final = PLANE_SCALE * FUZZ_RAD


@dataclass(frozen=True, slots=True)
class Caps:
    """SQL of a unit vector and of the radii (rad) about it; NULL where a region is none."""

    x: str
    y: str
    z: str
    inner: str
    outer: str


def constant_caps(shape: Point | Circle | Polygon) -> tuple[float, float, float, float, float]:
    """The numbers of :class:`Caps` for a shape that is known."""
    if isinstance(shape, Point):
        return (*unit_vector(shape.lon_deg, shape.lat_deg), 0.0, 0.0)
    area = prepare(shape)
    assert not isinstance(area, RangeArea)
    if isinstance(area, CircleArea):
        return (*area.centre, area.radius_rad, area.radius_rad + OUTER_MARGIN_RAD)
    inside = area.contains(area.centre)
    inner = area.rim_distance(area.centre) if inside else NOT_INSIDE_RAD
    return (*area.centre, inner, area.cap_rad + OUTER_MARGIN_RAD)


def overlap(a: Caps, b: Caps, rest: str) -> str:
    """Whether two regions have a direction in common; ``rest`` is asked if the circles do not
    tell."""
    distance = _apart(a, b)
    return (
        f"CASE WHEN {distance} <= {a.inner} + {b.inner} THEN TRUE"
        f" WHEN {distance} > {a.outer} + {b.outer} THEN FALSE ELSE {rest} END"
    )


def within(a: Caps, b: Caps, rest: str) -> str:
    """Whether region ``b`` holds all of ``a``."""
    distance = _apart(a, b)
    return (
        f"CASE WHEN {distance} + {a.outer} <= {b.inner} THEN TRUE"
        f" WHEN {distance} + {a.inner} > {b.outer} THEN FALSE ELSE {rest} END"
    )


def point_in_plane(point: Caps, region: Caps, plane: str, rest: str) -> str:
    """Whether a polygon holds a point, in the plane that touches the sky at its centre."""
    return f"COALESCE({_in_plane(point, region, plane)} <= {_FUZZ!r}, {rest})"


def circle_in_plane(circle: Caps, region: Caps, plane: str, rest: str) -> str:
    """Whether a circle and a polygon meet: the plane stretches a distance, by no more than the
    square of the secant of the farthest angle from its centre."""
    distance = _in_plane(circle, region, plane)
    radius = f"{PLANE_SCALE!r} * {circle.inner}"
    farthest = f"greatest({_apart(circle, region)}, {region.outer})"
    return (
        f"CASE WHEN {distance} <= {radius} THEN TRUE"
        f" WHEN {distance} * (1 + cos(2 * {farthest})) / 2 > {radius} + {2 * _FUZZ!r} THEN FALSE"
        f" ELSE {rest} END"
    )


def _apart(a: Caps, b: Caps) -> str:
    return f"adql_apart({a.x}, {a.y}, {a.z}, {b.x}, {b.y}, {b.z})"


def _in_plane(point: Caps, region: Caps, plane: str) -> str:
    place = f"adql_tangent({region.x}, {region.y}, {region.z}, {point.x}, {point.y}, {point.z})"
    return f"({plane} <-> {place})"

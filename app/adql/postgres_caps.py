"""PostgreSQL: most questions about regions settled by two circles about a centre of each.

One circle lies within the region, the other holds it. Tests of the regions themselves cost 10 to 60
microseconds a row; they stand last in a CASE, for rows that the circles leave open.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import radians
from typing import Final

from app.adql.spatial_index import PLANE_SCALE
from app.sky.areas import CircleArea, PolygonArea, RangeArea, prepare
from app.sky.predicates import bounding_circle
from app.sky.shapes import Point, Polygon, Shape
from app.sky.tangent_planes import LEAST_COSINE, LEAST_EDGE_RAD, NOT_INSIDE_RAD, OUTER_MARGIN_RAD
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


def constant_caps(shape: Shape) -> tuple[float, float, float, float, float]:
    """The numbers of :class:`Caps` for a shape that is known."""
    if isinstance(shape, Point):
        return (*unit_vector(shape.lon_deg, shape.lat_deg), 0.0, 0.0)
    area = prepare(shape)
    if isinstance(area, RangeArea):
        around = bounding_circle(shape)
        centre, outer = unit_vector(around.lon_deg, around.lat_deg), radians(around.radius_deg)
        return (*centre, area.rim_distance(centre), outer + OUTER_MARGIN_RAD)
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
    return f"COALESCE(({plane} <-> {_place(point, region)}) <= {_FUZZ!r}, {rest})"


def circle_in_plane(circle: Caps, region: Caps, plane: str, rest: str) -> str:
    """Whether a circle and a polygon meet."""
    distance = f"({plane} <-> {_place(circle, region)})"
    radius = f"{PLANE_SCALE!r} * {circle.inner}"
    return (
        f"CASE WHEN {distance} <= {radius} THEN TRUE"
        f" WHEN {distance} * {_shrinking(circle, region)} > {radius} + {2 * _FUZZ!r} THEN FALSE"
        f" ELSE {rest} END"
    )


def circle_within(circle: Caps, region: Caps, plane: str, rest: str) -> str:
    """Whether a polygon holds a circle: its centre, and no edge is nearer than the radius."""
    place = _place(circle, region)
    edge = f"(path({plane}) <-> {place})"
    radius = f"{PLANE_SCALE!r} * {circle.inner}"
    return (
        f"CASE WHEN ({plane} <-> {place}) > {_FUZZ!r} AND {circle.inner} >= 0 THEN FALSE"
        f" WHEN {edge} * {_shrinking(circle, region)} > {radius} THEN TRUE"
        f" WHEN {edge} < {radius} - {2 * _FUZZ!r} THEN FALSE ELSE {rest} END"
    )


def within_circle(circle: Caps, vertices: str) -> str:
    """Whether a circle of at most a hemisphere holds a polygon: all its vertices."""
    distance = f"adql_apart({circle.x}, {circle.y}, {circle.z}, u, v, w)"
    inside = f"{distance} <= {circle.inner} + {FUZZ_RAD!r}"
    return f"(SELECT bool_and({inside}) FROM ({vertices}) AS vertices)"


def overlap_in_plane(vertices: str, region: Caps, plane: str, rest: str) -> str:
    """Whether a polygon of some vertices meets one that lies in its plane."""
    place = f"adql_tangent({region.x}, {region.y}, {region.z}, u, v, w)"
    other = (
        "(SELECT CASE WHEN count(p) = count(*) THEN"
        " CAST(string_agg(CAST(p AS text), ',') AS polygon) END"
        f" FROM (SELECT {place} AS p FROM ({vertices}) AS vertices OFFSET 0) AS places)"
    )
    return f"COALESCE({plane} && {other}, {rest})"


def stored_vertices(text: str) -> str:
    """A query for the unit vectors (u, v, w) of a polygon's vertices, from its STC-S text."""
    return (
        "SELECT cos(l) * cos(b) AS u, sin(l) * cos(b) AS v, sin(b) AS w"
        f" FROM ({stored_angles(text)} OFFSET 0) AS angles"
    )


def stored_angles(text: str) -> str:
    """The same for longitudes and latitudes (``l`` and ``b``, rad)."""
    return (
        "SELECT radians(a[2 * i - 1]) AS l, radians(a[2 * i]) AS b"
        f" FROM (SELECT {stored_numbers(text)} AS a OFFSET 0) AS r"
        " CROSS JOIN LATERAL generate_series(1, cardinality(a) / 2) AS i"
    )


def stored_numbers(text: str) -> str:
    """The numbers in STC-S text of a polygon, as an array."""
    return f"CAST(string_to_array(substr({text}, 14), ' ') AS double precision[])"


def constant_plane(polygon: Polygon) -> str | None:
    """The text of a polygon in the plane that touches the sky at its centre, with the axes of
    ``adql_tangent``; None where the plane may not judge it."""
    area = prepare(polygon)
    assert isinstance(area, PolygonArea)
    if area.cap_cosine <= LEAST_COSINE or not has_long_edges(polygon):
        return None
    x, y, z = area.centre
    places = []
    for u, v, w in area.vectors:
        depth = x * u + y * v + z * w
        fall = (x * u + y * v) / (1.0 + abs(z)) + (-w if z < 0.0 else w)
        places += [PLANE_SCALE * (u - x * fall) / depth, PLANE_SCALE * (v - y * fall) / depth]
    return ",".join(map(repr, places))


def has_long_edges(polygon: Polygon) -> bool:
    """Whether the plane may judge a polygon (see :mod:`app.sky.tangent_planes`)."""
    area = prepare(polygon)
    assert isinstance(area, PolygonArea)
    return all(arc.span_rad > LEAST_EDGE_RAD for arc in area.arcs)


def _apart(a: Caps, b: Caps) -> str:
    return f"adql_apart({a.x}, {a.y}, {a.z}, {b.x}, {b.y}, {b.z})"


def _place(point: Caps, region: Caps) -> str:
    return f"adql_tangent({region.x}, {region.y}, {region.z}, {point.x}, {point.y}, {point.z})"


def _shrinking(point: Caps, region: Caps) -> str:
    """The plane stretches distances, by no more than the square of the secant of the farthest
    angle from its centre: the inverse of that."""
    return f"(1 + cos(2 * greatest({_apart(point, region)}, {region.outer}))) / 2"

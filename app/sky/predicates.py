"""Which directions and regions contain or touch which, and how large they are.

The boundary belongs to a region and directions within 1e-9 rad of it count as on it.
"""

from __future__ import annotations

import math
from itertools import pairwise

from app.sky.areas import Area, CircleArea, PolygonArea, RangeArea, prepare
from app.sky.shapes import Circle, Point, Region, Shape
from app.sky.vectors import (
    FUZZ_RAD,
    RADIANS_PER_DEGREE,
    Arc,
    Vector,
    add,
    angle,
    direction,
    dot,
    normalized,
    scale,
    unit_vector,
)

_PI = math.pi

ONE_POINT_DEG = 1e-7
"""Two points that are nearer count as one (0.36 mas)."""


def contains_point(region: Region, point: Point) -> bool:
    """Whether ``point`` lies in ``region``, boundary included."""
    return prepare(region).contains(unit_vector(point.lon_deg, point.lat_deg))


def contains_region(outer: Region, inner: Region) -> bool:
    """Whether every direction of ``inner`` lies in ``outer``."""
    return area_contains(prepare(outer), prepare(inner))


def intersects(a: Region, b: Region) -> bool:
    """Whether the regions have a direction in common."""
    return areas_intersect(prepare(a), prepare(b))


def shape_contains(outer: Shape, inner: Shape) -> bool:
    """:func:`contains_region` where either may be a point; a point holds only itself."""
    if isinstance(inner, Point):
        if isinstance(outer, Point):
            return distance_deg(outer, inner) < ONE_POINT_DEG
        return contains_point(outer, inner)
    return not isinstance(outer, Point) and contains_region(outer, inner)


def shapes_intersect(a: Shape, b: Shape) -> bool:
    """:func:`intersects` where either may be a point."""
    if isinstance(a, Point):
        return shape_contains(b, a)
    return contains_point(a, b) if isinstance(b, Point) else intersects(a, b)


def distance_deg(p: Point, q: Point) -> float:
    """Great-circle distance (deg), accurate at every separation (Vincenty 1975)."""
    return great_circle_deg(p.lon_deg, p.lat_deg, q.lon_deg, q.lat_deg)


def great_circle_deg(lon1: float, lat1: float, lon2: float, lat2: float) -> float:
    """Great-circle distance (deg) of two directions given in degrees."""
    phi1, phi2 = lat1 * RADIANS_PER_DEGREE, lat2 * RADIANS_PER_DEGREE
    delta = lon2 * RADIANS_PER_DEGREE - lon1 * RADIANS_PER_DEGREE
    sin1, cos1, sin2, cos2 = math.sin(phi1), math.cos(phi1), math.sin(phi2), math.cos(phi2)
    across = cos2 * math.sin(delta)
    along = cos1 * sin2 - sin1 * cos2 * math.cos(delta)
    cosine = sin1 * sin2 + cos1 * cos2 * math.cos(delta)
    return math.atan2(math.sqrt(across * across + along * along), cosine) / RADIANS_PER_DEGREE


def area_contains(outer: Area, inner: Area) -> bool:
    """:func:`contains_region` of prepared regions."""
    if isinstance(outer, CircleArea):
        return _cap_contains(outer, inner)
    if isinstance(inner, CircleArea):
        return outer.contains(inner.centre) and (
            outer.rim_distance(inner.centre) >= inner.radius_rad - FUZZ_RAD
        )
    if isinstance(outer, PolygonArea):
        # Both boundaries being settled, only the side on which the rest of the sky lies is open.
        beyond = scale(outer.centre, -1.0)
        return _boundary_within(outer, inner) and not inner.contains(beyond)
    return _boundary_within(outer, inner) and not any(inner.contains(v) for v in outer.outside())


def areas_intersect(a: Area, b: Area) -> bool:
    """:func:`intersects` of prepared regions."""
    if isinstance(a, CircleArea):
        return _cap_touches(a, b)
    if isinstance(b, CircleArea):
        return _cap_touches(b, a)
    if isinstance(a, PolygonArea) and isinstance(b, PolygonArea):
        reach = a.cap_rad + b.cap_rad + 2.0 * FUZZ_RAD
        if angle(a.centre, b.centre) > reach:
            return False
    if any(b.contains(v) for v in a.vectors) or any(a.contains(v) for v in b.vectors):
        return True
    return any(s.crossings(t) for s in a.arcs for t in b.arcs)


def _cap_touches(cap: CircleArea, other: Area) -> bool:
    if isinstance(other, CircleArea):
        return angle(cap.centre, other.centre) <= cap.radius_rad + other.radius_rad + FUZZ_RAD
    if isinstance(other, PolygonArea):
        reach = cap.radius_rad + other.cap_rad + 2.0 * FUZZ_RAD
        if angle(cap.centre, other.centre) > reach:
            return False
    return _distance(other, cap.centre) <= cap.radius_rad + FUZZ_RAD


def _cap_contains(cap: CircleArea, inner: Area) -> bool:
    """The farthest direction of ``inner`` is the one nearest to the antipode of the centre."""
    if isinstance(inner, CircleArea):
        farthest = min(_PI, angle(cap.centre, inner.centre) + inner.radius_rad)
        return farthest <= cap.radius_rad + FUZZ_RAD
    antipode = scale(cap.centre, -1.0)
    return _PI - _distance(inner, antipode) <= cap.radius_rad + FUZZ_RAD


def _distance(area: Area, v: Vector) -> float:
    return 0.0 if area.contains(v) else area.rim_distance(v)


def _boundary_within(outer: PolygonArea | RangeArea, inner: PolygonArea | RangeArea) -> bool:
    if not all(outer.contains(v) for v in inner.vectors):
        return False
    return all(_arc_within(outer, arc) for arc in inner.arcs)


def _arc_within(outer: PolygonArea | RangeArea, arc: Arc) -> bool:
    """Cut the arc wherever it meets the boundary; then the middle of each piece decides."""
    turns = {min(t, arc.span_rad) for side in outer.arcs for t in arc.crossings(side)}
    cuts = sorted({0.0, arc.span_rad} | turns)
    return all(
        outer.contains(arc.point((start + end) / 2.0))
        for start, end in pairwise(cuts)
        if end - start > FUZZ_RAD
    )


def bounding_circle(region: Region) -> Circle:
    """A circle that holds the region (for a polygon, about its centre)."""
    if isinstance(region, Circle):
        return region
    area = prepare(region)
    if isinstance(area, RangeArea):
        return _circle_about_range(area)
    assert isinstance(area, PolygonArea)
    return Circle(*direction(area.centre), area.cap_rad / RADIANS_PER_DEGREE)


def _circle_about_range(area: RangeArea) -> Circle:
    lon, lat = _middle(area)
    centre = unit_vector(lon, lat)
    farthest = _PI - _distance(area, scale(centre, -1.0))
    return Circle(lon, lat, farthest / RADIANS_PER_DEGREE)


def _middle(area: RangeArea) -> tuple[float, float]:
    lon = (area.lon_min_deg + area.span_deg / 2.0) % 360.0
    return lon, (area.lat_min_deg + area.lat_max_deg) / 2.0


def area_deg2(region: Region) -> float:
    """Solid angle (deg2)."""
    area = prepare(region)
    if isinstance(area, CircleArea):
        steradian = 4.0 * _PI * math.sin(area.radius_rad / 2.0) ** 2
    elif isinstance(area, RangeArea):
        heights = [math.sin(x * RADIANS_PER_DEGREE) for x in (area.lat_min_deg, area.lat_max_deg)]
        steradian = area.span_deg * RADIANS_PER_DEGREE * (heights[1] - heights[0])
    else:
        steradian = abs(_excess(area))
    return steradian / (RADIANS_PER_DEGREE * RADIANS_PER_DEGREE)


def _excess(area: PolygonArea) -> float:
    """Signed solid angle (sr): the fan of triangles about the centre (Van Oosterom 1983).

    In the tangent frame the determinant has no cancellation, however small the polygon.
    """
    (first, second), centre = area.axes, area.centre
    local = [(dot(v, first), dot(v, second), dot(v, centre)) for v in area.vectors]
    total = 0.0
    for a, b in pairwise((*local, local[0])):
        determinant = a[0] * b[1] - a[1] * b[0]
        total += 2.0 * math.atan2(determinant, 1.0 + dot(a, b) + a[2] + b[2])
    return total


def centroid(region: Region) -> Point:
    """The centre of mass of the region's surface, brought back to the sphere."""
    area = prepare(region)
    if isinstance(area, CircleArea):
        return Point(*direction(area.centre))
    if isinstance(area, RangeArea):
        return _range_centroid(area)
    small = area.cap_cosine > 0.9998
    return Point(*direction(_flat_moment(area) if small else _surface_moment(area)))


def _range_centroid(area: RangeArea) -> Point:
    """The first moment of the box: by symmetry on the middle meridian."""
    lon, _ = _middle(area)
    low, high = (x * RADIANS_PER_DEGREE for x in (area.lat_min_deg, area.lat_max_deg))
    half = area.span_deg * RADIANS_PER_DEGREE / 2.0
    radial = math.sin(half) * ((high - low) + (math.sin(2 * high) - math.sin(2 * low)) / 2.0)
    vertical = half * (math.sin(high) ** 2 - math.sin(low) ** 2)
    if math.hypot(radial, vertical) < 1e-12:
        return Point(*_middle(area))
    return Point(lon, math.atan2(vertical, radial) / RADIANS_PER_DEGREE)


def _surface_moment(area: PolygonArea) -> Vector:
    """Integral of the direction over the surface: half the sum of edge length times edge normal."""
    total: Vector = (0.0, 0.0, 0.0)
    for arc in area.arcs:
        total = add(total, scale(arc.axis, arc.span_rad / 2.0))
    return normalized(scale(total, math.copysign(1.0, _excess(area))))


def _flat_moment(area: PolygonArea) -> Vector:
    """The same for polygons below 1 deg, where the sum over edges would cancel.

    Fan of triangles in the gnomonic plane, seven-point rule of degree 5 (Radon 1948), with the
    surface element (1 + x2 + y2)^(-3/2).
    """
    weight_sum = x_sum = y_sum = 0.0
    corners = (*area.corners, area.corners[0])
    for (x1, y1), (x2, y2) in pairwise(corners):
        doubled = x1 * y2 - x2 * y1
        for share, weight in _SEVEN_POINTS:
            x, y = share[0] * x1 + share[1] * x2, share[0] * y1 + share[1] * y2
            # A direction's components along the axes fall by one more power of the depth.
            element = doubled * weight * (1.0 + x * x + y * y) ** -1.5
            shrink = (1.0 + x * x + y * y) ** -0.5
            weight_sum += element * shrink
            x_sum += element * shrink * x
            y_sum += element * shrink * y
    first, second = area.axes
    moved = add(scale(first, x_sum / weight_sum), scale(second, y_sum / weight_sum))
    return normalized(add(area.centre, moved))


def _seven_points() -> tuple[tuple[tuple[float, float], float], ...]:
    root = math.sqrt(15.0)
    points = [((1 / 3, 1 / 3), 9 / 40)]
    for inner, weight in (
        ((6 - root) / 21, (155 - root) / 1200),
        ((6 + root) / 21, (155 + root) / 1200),
    ):
        outer = 1.0 - 2.0 * inner
        points += [(p, weight) for p in ((inner, inner), (inner, outer), (outer, inner))]
    return tuple(points)


_SEVEN_POINTS = _seven_points()

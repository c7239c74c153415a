"""Regions made ready for questions: what a predicate needs, computed once and kept.

A polygon is carried into the gnomonic plane about its centre, where great circles are straight
lines: the even-odd rule there is exact for any simple polygon inside a hemisphere, concave ones
included. Everything that measures an angle is done on the sphere itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise

from app.errors import RegionError
from app.sky.shapes import Circle, Polygon, Range, Region
from app.sky.vectors import (
    FUZZ_RAD,
    RADIANS_PER_DEGREE,
    ROUNDING,
    Arc,
    Vector,
    add,
    angle,
    cross,
    direction,
    dot,
    great_arc,
    norm,
    normalized,
    scale,
    tangent_axes,
    unit_vector,
)

_MIN_COSINE = 1e-4
"""A polygon must lie nearer than this cosine to its centre: 89.99 deg."""


class CircleArea:
    """A cap."""

    __slots__ = ("centre", "radius_rad")

    def __init__(self, circle: Circle) -> None:
        self.centre = unit_vector(circle.lon_deg, circle.lat_deg)
        self.radius_rad = circle.radius_deg * RADIANS_PER_DEGREE

    def contains(self, v: Vector) -> bool:
        """Whether the direction lies in the cap, its rim included."""
        return angle(self.centre, v) <= self.radius_rad + FUZZ_RAD

    def rim_distance(self, v: Vector) -> float:
        """Angle (rad) from ``v`` to the rim."""
        return abs(angle(self.centre, v) - self.radius_rad)


class PolygonArea:
    """A simple polygon inside a hemisphere.

    ``cap_cosine`` is the cosine of the cap about ``centre`` that holds it.
    """

    __slots__ = ("_arcs", "_edges", "axes", "cap_cosine", "centre", "corners", "vectors")

    def __init__(self, polygon: Polygon) -> None:
        vectors = _distinct([unit_vector(lon, lat) for lon, lat in polygon.vertices])
        if len(vectors) < 3:
            raise RegionError(_brief(polygon), "a polygon needs three different vertices")
        self.vectors = vectors
        self.centre = _centre_of(polygon, vectors)
        self.axes = tangent_axes(self.centre)
        self.cap_cosine = min(dot(v, self.centre) for v in vectors)
        self.corners = tuple(self._project(v) for v in vectors)
        closed = (*self.corners, self.corners[0])
        self._edges = tuple((x1, y1, x2, y2) for (x1, y1), (x2, y2) in pairwise(closed))
        self._arcs: tuple[Arc, ...] | None = None

    def _project(self, v: Vector) -> tuple[float, float]:
        depth = dot(v, self.centre)
        return (dot(v, self.axes[0]) / depth, dot(v, self.axes[1]) / depth)

    @property
    def arcs(self) -> tuple[Arc, ...]:
        """The edges as great-circle arcs."""
        if self._arcs is None:
            closed = (*self.vectors, self.vectors[0])
            self._arcs = tuple(great_arc(a, b) for a, b in pairwise(closed))
        return self._arcs

    def contains(self, v: Vector) -> bool:
        """Whether the direction lies inside or within the fuzz of an edge."""
        cx, cy, cz = self.centre
        depth = v[0] * cx + v[1] * cy + v[2] * cz
        if depth < self.cap_cosine - 2.0 * FUZZ_RAD:
            return False
        (ax, ay, az), (bx, by, bz) = self.axes
        x = (v[0] * ax + v[1] * ay + v[2] * az) / depth
        y = (v[0] * bx + v[1] * by + v[2] * bz) / depth
        inside = False
        for x1, y1, x2, y2 in self._edges:
            if (y1 > y) != (y2 > y) and x < x1 + (y - y1) * (x2 - x1) / (y2 - y1):
                inside = not inside
        return inside or self._near_edge(x, y, v)

    def _near_edge(self, x: float, y: float, v: Vector) -> bool:
        """Whether ``v`` lies within the fuzz of an edge; the plane only sorts out the far ones."""
        slack = 4.0 * FUZZ_RAD / (self.cap_cosine * self.cap_cosine)
        for index, (x1, y1, x2, y2) in enumerate(self._edges):
            dx, dy, px, py = x2 - x1, y2 - y1, x - x1, y - y1
            length = math.sqrt(dx * dx + dy * dy)
            if (
                abs(dx * py - dy * px) <= slack * length
                and -slack * length <= dx * px + dy * py <= length * (length + slack)
                and self.arcs[index].distance(v) <= FUZZ_RAD
            ):
                return True
        return False

    def rim_distance(self, v: Vector) -> float:
        """Angle (rad) from ``v`` to the boundary."""
        return min(arc.distance(v) for arc in self.arcs)

    @property
    def cap_rad(self) -> float:
        """Radius (rad) of the cap about ``centre`` that holds the polygon."""
        return max(angle(self.centre, v) for v in self.vectors)


class RangeArea:
    """A box in longitude and latitude; its upper and lower sides are parallels."""

    __slots__ = ("arcs", "is_full", "lat_max_deg", "lat_min_deg", "lon_min_deg", "span_deg")

    def __init__(self, box: Range) -> None:
        self.lon_min_deg = box.lon_min_deg
        span = box.lon_max_deg - box.lon_min_deg
        self.is_full = span >= 360.0
        self.span_deg = 360.0 if self.is_full else span % 360.0
        self.lat_min_deg, self.lat_max_deg = box.lat_min_deg, box.lat_max_deg
        self.arcs = (*self._parallels(), *self._meridians())

    def _parallels(self) -> list[Arc]:
        lon = self.lon_min_deg
        first, second = unit_vector(lon, 0.0), unit_vector(lon + 90.0, 0.0)
        span = self.span_deg * RADIANS_PER_DEGREE
        return [
            Arc((0.0, 0.0, 1.0), first, second, math.sin(lat * RADIANS_PER_DEGREE), span)
            for lat in (self.lat_min_deg, self.lat_max_deg)
            if abs(lat) < 90.0
        ]

    def _meridians(self) -> list[Arc]:
        if self.is_full:
            return []
        span = (self.lat_max_deg - self.lat_min_deg) * RADIANS_PER_DEGREE
        sides = []
        for lon in (self.lon_min_deg, self.lon_min_deg + self.span_deg):
            first = unit_vector(lon, self.lat_min_deg)
            second = unit_vector(lon, self.lat_min_deg + 90.0)
            sides.append(Arc(cross(first, second), first, second, 0.0, span))
        return sides

    @property
    def vectors(self) -> tuple[Vector, ...]:
        """The four corners."""
        lons = (self.lon_min_deg, self.lon_min_deg + self.span_deg)
        return tuple(
            unit_vector(lon, lat) for lon in lons for lat in (self.lat_min_deg, self.lat_max_deg)
        )

    def contains(self, v: Vector) -> bool:
        """Whether the direction lies in the box, sides included."""
        lon, lat = direction(v)
        fuzz = FUZZ_RAD / RADIANS_PER_DEGREE
        if not self.lat_min_deg - fuzz <= lat <= self.lat_max_deg + fuzz:
            return False
        if self.is_full or abs(lat) >= 90.0 - fuzz:
            return True
        lon_fuzz = fuzz / math.cos(lat * RADIANS_PER_DEGREE)
        offset = (lon - self.lon_min_deg) % 360.0
        return offset <= self.span_deg + lon_fuzz or offset >= 360.0 - lon_fuzz

    def rim_distance(self, v: Vector) -> float:
        """Angle (rad) from ``v`` to the nearest side; pi if the whole sky is meant."""
        return min((arc.distance(v) for arc in self.arcs), default=math.pi)

    def outside(self) -> list[Vector]:
        """One direction in each connected part of the rest of the sky."""
        if not self.is_full:
            lon = self.lon_min_deg + self.span_deg / 2.0 + 180.0
            return [unit_vector(lon, (self.lat_min_deg + self.lat_max_deg) / 2.0)]
        poles = [(0.0, 0.0, -1.0)] if self.lat_min_deg > -90.0 else []
        return [*poles, (0.0, 0.0, 1.0)] if self.lat_max_deg < 90.0 else poles


Area = CircleArea | PolygonArea | RangeArea


@lru_cache(maxsize=4096)
def prepare(region: Region) -> Area:
    """The region ready for questions. Raises RegionError for a polygon beyond a hemisphere."""
    if isinstance(region, Circle):
        return CircleArea(region)
    if isinstance(region, Polygon):
        return PolygonArea(region)
    return RangeArea(region)


def _distinct(vectors: list[Vector]) -> tuple[Vector, ...]:
    """Without vertices that repeat their predecessor (closed rings, doubled corners)."""
    kept: list[Vector] = []
    for v in vectors:
        if not kept or angle(kept[-1], v) > FUZZ_RAD:
            kept.append(v)
    while len(kept) > 1 and angle(kept[-1], kept[0]) <= FUZZ_RAD:
        kept.pop()
    return tuple(kept)


def _centre_of(polygon: Polygon, vectors: tuple[Vector, ...]) -> Vector:
    """A direction less than 90 deg from every vertex."""
    for estimate in (_mean, _area_vector, _enclosing_centre):  # dearer from one to the next
        candidate = estimate(vectors)
        if norm(candidate) < 1e-12:
            continue
        centre = normalized(candidate)
        cosines = [dot(centre, v) for v in vectors]
        if min(cosines) > _MIN_COSINE:
            return centre
        if max(cosines) < -_MIN_COSINE:
            return scale(centre, -1.0)
    raise RegionError(_brief(polygon), "a polygon must be smaller than a hemisphere")


def _mean(vectors: tuple[Vector, ...]) -> Vector:
    total: Vector = (0.0, 0.0, 0.0)
    for v in vectors:
        total = add(total, v)
    return total


def _area_vector(vectors: tuple[Vector, ...]) -> Vector:
    total: Vector = (0.0, 0.0, 0.0)
    for a, b in pairwise((*vectors, vectors[0])):
        total = add(total, cross(a, b))
    return total


def _enclosing_centre(vectors: tuple[Vector, ...]) -> Vector:
    """Centre of a nearly minimal enclosing cap (Badoiu & Clarkson 2003: step to the farthest)."""
    centre: Vector = vectors[0]
    for step in range(1, 200):
        farthest = min(vectors, key=lambda v: dot(centre, v))
        moved = add(centre, scale(add(farthest, scale(centre, -1.0)), 1.0 / (step + 1)))
        centre = moved if norm(moved) > 1e-9 else centre
    return centre


def is_simple(area: PolygonArea) -> bool:
    """Whether no two edges cross or touch except neighbours at their common corner."""
    corners = area.corners
    count = len(corners)
    edges = [(corners[i], corners[(i + 1) % count]) for i in range(count)]
    for i in range(count):
        for j in range(i + 2, count):
            if i == 0 and j == count - 1:
                continue
            if _segments_meet(*edges[i], *edges[j]):
                return False
    return True


def _segments_meet(
    a: Sequence[float], b: Sequence[float], c: Sequence[float], d: Sequence[float]
) -> bool:
    for axis in (0, 1):
        if max(a[axis], b[axis]) + ROUNDING < min(c[axis], d[axis]):
            return False
        if max(c[axis], d[axis]) + ROUNDING < min(a[axis], b[axis]):
            return False
    apart = side_of(a, b, c) * side_of(a, b, d) <= 0.0
    return apart and side_of(c, d, a) * side_of(c, d, b) <= 0.0


def side_of(p: Sequence[float], q: Sequence[float], r: Sequence[float]) -> float:
    """On which side of the line from ``p`` to ``q`` (in the plane) ``r`` lies: above 0 to the left,
    0 where only the rounding of numbers could tell."""
    left, right = (q[0] - p[0]) * (r[1] - p[1]), (q[1] - p[1]) * (r[0] - p[0])
    lengths = abs(q[0] - p[0]) + abs(q[1] - p[1]) + abs(r[0] - p[0]) + abs(r[1] - p[1])
    doubt = ROUNDING * (abs(left) + abs(right) + lengths)
    return left - right if abs(left - right) > doubt else 0.0


def _brief(polygon: Polygon) -> str:
    numbers = " ".join(f"{x:g}" for pair in polygon.vertices[:4] for x in pair)
    return f"POLYGON {numbers}" + (" …" if len(polygon.vertices) > 4 else "")

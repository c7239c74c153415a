"""Unit vectors and circular arcs: the arithmetic below every predicate.

Plain floats and tuples, because a predicate runs once per candidate row and numpy's call
overhead would cost more than the sums do. Angles are radians here and nowhere else in the room.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

Vector = tuple[float, float, float]

RADIANS_PER_DEGREE = math.pi / 180.0
FUZZ_RAD = 1e-9
"""Directions closer than this are one direction (0.2 mas)."""

ROUNDING = 1e-13
"""What is nearer in a tangent plane may be so by the rounding of numbers alone."""

_TWO_PI = 2.0 * math.pi


def unit_vector(lon_deg: float, lat_deg: float) -> Vector:
    """The unit vector of a direction."""
    lon, lat = lon_deg * RADIANS_PER_DEGREE, lat_deg * RADIANS_PER_DEGREE
    cos_lat = math.cos(lat)
    return (math.cos(lon) * cos_lat, math.sin(lon) * cos_lat, math.sin(lat))


def direction(v: Vector) -> tuple[float, float]:
    """(lon_deg, lat_deg) of a vector of any length; longitude in [0, 360)."""
    lon = math.atan2(v[1], v[0]) / RADIANS_PER_DEGREE
    lat = math.atan2(v[2], math.hypot(v[0], v[1])) / RADIANS_PER_DEGREE
    lon = lon + 360.0 if lon < 0.0 else lon
    return (0.0 if lon >= 360.0 else lon, lat)


def dot(a: Vector, b: Vector) -> float:
    """Scalar product."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def cross(a: Vector, b: Vector) -> Vector:
    """Vector product."""
    return (
        a[1] * b[2] - a[2] * b[1],
        a[2] * b[0] - a[0] * b[2],
        a[0] * b[1] - a[1] * b[0],
    )


def add(a: Vector, b: Vector) -> Vector:
    """Sum."""
    return (a[0] + b[0], a[1] + b[1], a[2] + b[2])


def scale(a: Vector, factor: float) -> Vector:
    """Product with a number."""
    return (a[0] * factor, a[1] * factor, a[2] * factor)


def norm(a: Vector) -> float:
    """Length."""
    return math.sqrt(a[0] * a[0] + a[1] * a[1] + a[2] * a[2])


def normalized(a: Vector) -> Vector:
    """The unit vector along ``a``, which is not null."""
    return scale(a, 1.0 / norm(a))


def angle(a: Vector, b: Vector) -> float:
    """Angle between two vectors (rad), accurate from 0 to pi."""
    return math.atan2(norm(cross(a, b)), dot(a, b))


def tangent_axes(centre: Vector) -> tuple[Vector, Vector]:
    """Two unit vectors that span the plane tangent at ``centre``, right-handed with it."""
    other: Vector = (0.0, 0.0, 1.0) if abs(centre[2]) < 0.9 else (1.0, 0.0, 0.0)
    first = normalized(cross(other, centre))
    return first, cross(centre, first)


@dataclass(frozen=True, slots=True)
class Arc:
    """Part of a circle on the sphere: a great circle (``height`` 0) or a parallel of ``axis``.

    It starts at ``height * axis + rho * first`` and turns right-handedly about ``axis`` by
    ``span_rad``; (``first``, ``second``, ``axis``) is a right-handed orthonormal frame.
    """

    axis: Vector
    first: Vector
    second: Vector
    height: float
    span_rad: float

    def point(self, turn_rad: float) -> Vector:
        """The point reached after turning by ``turn_rad``."""
        rho = math.sqrt(max(0.0, 1.0 - self.height * self.height))
        along = scale(self.first, rho * math.cos(turn_rad))
        across = scale(self.second, rho * math.sin(turn_rad))
        return add(scale(self.axis, self.height), add(along, across))

    def turn_of(self, v: Vector) -> float:
        """How far one turns to stand abeam of ``v``: [0, 2 pi)."""
        return math.atan2(dot(self.second, v), dot(self.first, v)) % _TWO_PI

    def spans(self, turn_rad: float) -> bool:
        """Whether a turn lies on the arc (ends counted with the fuzz)."""
        return turn_rad <= self.span_rad + FUZZ_RAD or turn_rad >= _TWO_PI - FUZZ_RAD

    def distance(self, v: Vector) -> float:
        """Angle (rad) from ``v`` to the nearest point of the arc."""
        along, across = dot(self.first, v), dot(self.second, v)
        if math.atan2(across, along) % _TWO_PI <= self.span_rad:
            latitude = math.atan2(dot(self.axis, v), math.hypot(along, across))
            return abs(latitude - math.asin(self.height))
        return min(angle(v, self.point(0.0)), angle(v, self.point(self.span_rad)))

    def crossings(self, other: Arc) -> tuple[float, ...]:
        """Turns along this arc at which it meets ``other``; none if both lie in one plane."""
        cosine = dot(self.axis, other.axis)
        # Not 1 - cosine2, of which rounding leaves 1e-16 for axes that are the same.
        normal = cross(self.axis, other.axis)
        sine2 = dot(normal, normal)
        if sine2 < 1e-24:
            return ()
        k1, k2 = self.height, other.height
        foot = add(
            scale(self.axis, (k1 - k2 * cosine) / sine2),
            scale(other.axis, (k2 - k1 * cosine) / sine2),
        )
        rest = 1.0 - dot(foot, foot)
        if rest < 0.0:
            return ()
        half = scale(normal, math.sqrt(rest / sine2))
        points = (add(foot, half), add(foot, scale(half, -1.0)))
        turns = tuple(self.turn_of(p) for p in points if other.spans(other.turn_of(p)))
        return tuple(t for t in turns if self.spans(t))


def great_arc(a: Vector, b: Vector) -> Arc:
    """The shorter great-circle arc from ``a`` to ``b``, which are neither equal nor opposite."""
    axis = normalized(cross(a, b))
    return Arc(axis, a, cross(axis, a), 0.0, angle(a, b))

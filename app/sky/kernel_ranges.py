"""Whether a polygon meets a box in longitude and latitude, compiled.

The same question as :func:`app.sky.predicates.intersects` asks of a polygon and a coordinate range.
They meet if a vertex of the polygon lies in the box, or a place where an edge crosses a side of it
(a parallel or a meridian), or if a corner of the box lies in the polygon. Angles are radians.
"""

from __future__ import annotations

import math

from numba import njit

from app.sky.kernels import Outline, contains
from app.sky.vectors import FUZZ_RAD, RADIANS_PER_DEGREE

_TWO_PI = 2.0 * math.pi


@njit(cache=True, error_model="numpy")
def meets_range(
    q: Outline, lon_min_deg: float, lon_max_deg: float, lat_min_deg: float, lat_max_deg: float
) -> bool:
    """Whether the polygon of an outline has a direction in common with a coordinate range
    (:class:`app.sky.shapes.Range`)."""
    span = lon_max_deg - lon_min_deg
    span = (360.0 if span >= 360.0 else span % 360.0) * RADIANS_PER_DEGREE
    west = lon_min_deg * RADIANS_PER_DEGREE
    south, north = lat_min_deg * RADIANS_PER_DEGREE, lat_max_deg * RADIANS_PER_DEGREE
    i = q.size - 3
    for j in range(0, q.size, 3):
        if _holds(q[j], q[j + 1], q[j + 2], west, span, south, north):
            return True
        if _edge_meets(q, i, j, west, span, south, north):
            return True
        i = j
    for lon in (west, west + span):
        for lat in (south, north):
            cosine = math.cos(lat)
            if contains(q, math.cos(lon) * cosine, math.sin(lon) * cosine, math.sin(lat)):
                return True
    return False


@njit(cache=True, error_model="numpy")
def _holds(
    x: float, y: float, z: float, west: float, span: float, south: float, north: float
) -> bool:
    """Whether a direction lies in the box, its sides included."""
    lat = math.atan2(z, math.sqrt(x * x + y * y))
    if not south - FUZZ_RAD <= lat <= north + FUZZ_RAD:
        return False
    if span >= _TWO_PI or abs(lat) >= math.pi / 2.0 - FUZZ_RAD:
        return True
    fuzz = FUZZ_RAD / math.cos(lat)
    offset = (math.atan2(y, x) - west) % _TWO_PI
    return offset <= span + fuzz or offset >= _TWO_PI - fuzz


@njit(cache=True, error_model="numpy")
def _edge_meets(
    q: Outline, i: int, j: int, west: float, span: float, south: float, north: float
) -> bool:
    """Whether an edge crosses a side of the box. It is ``a cos t + b sin t`` for t up to its
    length; ``a`` is vertex i."""
    ax, ay, az = q[i], q[i + 1], q[i + 2]
    nx = ay * q[j + 2] - az * q[j + 1]
    ny = az * q[j] - ax * q[j + 2]
    nz = ax * q[j + 1] - ay * q[j]
    sine = math.sqrt(nx * nx + ny * ny + nz * nz)
    length = math.atan2(sine, ax * q[j] + ay * q[j + 1] + az * q[j + 2])
    bx, by, bz = (ny * az - nz * ay) / sine, (nz * ax - nx * az) / sine, (nx * ay - ny * ax) / sine
    reach, top = math.sqrt(az * az + bz * bz), math.atan2(bz, az)
    for number in range(8):
        side = number // 2
        if side < 2:
            height = math.sin(north if side else south)
            # NaN for a parallel that the great circle does not reach: no turn, no place.
            away = math.acos(height / reach) if abs(height) <= reach else math.nan
            turn = top + away if number % 2 else top - away
        else:
            lon = west + span if side == 3 else west
            u, v = math.sin(lon), -math.cos(lon)
            turn = math.atan2(-(u * ax + v * ay), u * bx + v * by) + math.pi * (number % 2)
        past = turn % _TWO_PI
        if past <= length + FUZZ_RAD or past >= _TWO_PI - FUZZ_RAD:
            c, s = math.cos(turn), math.sin(turn)
            x, y, z = ax * c + bx * s, ay * c + by * s, az * c + bz * s
            if _holds(x, y, z, west, span, south, north):
                return True
    return False

"""Sizes, centres and boxes of outlines, compiled; and outlines from numbers and from text.

The companions of :mod:`app.sky.kernels`, after :mod:`app.sky.predicates`, :mod:`app.sky.boxes`
and :mod:`app.sky.stcs`.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from app.sky.kernels import Outline, _axis, _in_polygon, _span, angle, axes_of, centre_of
from app.sky.predicates import _SEVEN_POINTS
from app.sky.vectors import FUZZ_RAD, RADIANS_PER_DEGREE, ROUNDING

_MARGIN = 4.0 * FUZZ_RAD
_TWO_PI = 2.0 * math.pi
_FLAT_COSINE = 0.9998
_RULE = np.array([[first, second, weight] for (first, second), weight in _SEVEN_POINTS])


@njit(cache=True, error_model="numpy")
def solid_angle(q: Outline) -> float:
    """Solid angle (sr) of an outline."""
    if q.size == 3:
        return 0.0
    if q.size == 4:
        return 4.0 * math.pi * math.sin(q[3] / 2.0) ** 2
    return abs(_excess(q))


@njit(cache=True, error_model="numpy")
def _excess(q: Outline) -> float:
    cx, cy, cz, _ = centre_of(q)
    ux, uy, uz, vx, vy, vz = axes_of(cx, cy, cz)
    total = 0.0
    n = q.size
    for i in range(0, n, 3):
        j = (i + 3) % n
        ax = q[i] * ux + q[i + 1] * uy + q[i + 2] * uz
        ay = q[i] * vx + q[i + 1] * vy + q[i + 2] * vz
        az = q[i] * cx + q[i + 1] * cy + q[i + 2] * cz
        bx = q[j] * ux + q[j + 1] * uy + q[j + 2] * uz
        by = q[j] * vx + q[j + 1] * vy + q[j + 2] * vz
        bz = q[j] * cx + q[j + 1] * cy + q[j + 2] * cz
        cosine = ax * bx + ay * by + az * bz
        total += 2.0 * math.atan2(ax * by - ay * bx, 1.0 + cosine + az + bz)
    return total


@njit(cache=True, error_model="numpy")
def middle(q: Outline) -> tuple[float, float, float]:
    """The centre of mass of the outline's surface (a vector of any length)."""
    if q.size <= 4:
        return q[0], q[1], q[2]
    cx, cy, cz, cap = centre_of(q)
    if cap <= _FLAT_COSINE:
        x = y = z = 0.0
        sign = 1.0 if _excess(q) >= 0.0 else -1.0
        for i in range(0, q.size, 3):
            j = (i + 3) % q.size
            nx, ny, nz = _axis(q, i, j)
            half = sign * _span(q, i, j) / 2.0
            x, y, z = x + nx * half, y + ny * half, z + nz * half
        return x, y, z
    ux, uy, uz, vx, vy, vz = axes_of(cx, cy, cz)
    total = along = across = 0.0
    for i in range(0, q.size, 3):
        j = (i + 3) % q.size
        d = q[i] * cx + q[i + 1] * cy + q[i + 2] * cz
        x1 = (q[i] * ux + q[i + 1] * uy + q[i + 2] * uz) / d
        y1 = (q[i] * vx + q[i + 1] * vy + q[i + 2] * vz) / d
        d = q[j] * cx + q[j + 1] * cy + q[j + 2] * cz
        x2 = (q[j] * ux + q[j + 1] * uy + q[j + 2] * uz) / d
        y2 = (q[j] * vx + q[j + 1] * vy + q[j + 2] * vz) / d
        doubled = x1 * y2 - x2 * y1
        for k in range(_RULE.shape[0]):
            x = _RULE[k, 0] * x1 + _RULE[k, 1] * x2
            y = _RULE[k, 0] * y1 + _RULE[k, 1] * y2
            share = doubled * _RULE[k, 2] / (1.0 + x * x + y * y) ** 2
            total, along, across = total + share, along + share * x, across + share * y
    a, b = along / total, across / total
    return cx + ux * a + vx * b, cy + uy * a + vy * b, cz + uz * a + vz * b


@njit(cache=True, error_model="numpy")
def _edge_extent(q: Outline, i: int, j: int, index: int, sign: float) -> float:
    """Greatest value of sign times one component over an edge."""
    high = max(sign * q[i + index], sign * q[j + index])
    nx, ny, nz = _axis(q, i, j)
    if index == 0:
        second = ny * q[i + 2] - nz * q[i + 1]
    elif index == 1:
        second = nz * q[i] - nx * q[i + 2]
    else:
        second = nx * q[i + 1] - ny * q[i]
    first = q[i + index]
    summit = math.atan2(sign * second, sign * first) % _TWO_PI
    if summit <= _span(q, i, j) + FUZZ_RAD:
        high = max(high, math.sqrt(first * first + second * second))
    return high


@njit(cache=True, error_model="numpy")
def bound(q: Outline, index: int, sign: float) -> float:
    """Bound on one component of the unit vectors of an outline: the greatest (sign 1) or the
    least (sign -1), beyond it by the margin of :func:`app.sky.boxes.box_of`."""
    if q.size == 3:
        return q[index] + sign * _MARGIN
    if q.size == 4:
        off = math.acos(max(-1.0, min(1.0, sign * q[index])))
        return sign * math.cos(max(0.0, off - q[3])) + sign * _MARGIN
    x, y, z = sign * (index == 0), sign * (index == 1), sign * (index == 2)
    if _in_polygon(q, x, y, z):
        return sign * (1.0 + _MARGIN)
    high = -1.0
    i = q.size - 3
    for j in range(0, q.size, 3):
        high = max(high, _edge_extent(q, i, j, index, sign))
        i = j
    return sign * (high + _MARGIN)


@njit(cache=True, error_model="numpy")
def put_direction(out: Outline, at: int, lon_deg: float, lat_deg: float) -> None:
    """Write the unit vector of a direction."""
    lon, lat = lon_deg * RADIANS_PER_DEGREE, lat_deg * RADIANS_PER_DEGREE
    cosine = math.cos(lat)
    out[at], out[at + 1], out[at + 2] = (
        math.cos(lon) * cosine,
        math.sin(lon) * cosine,
        math.sin(lat),
    )


@njit(cache=True, error_model="numpy")
def is_direction(lon_deg: float, lat_deg: float) -> bool:
    """Whether two numbers are a direction: finite, the latitude within [-90, 90]."""
    return math.isfinite(lon_deg) and abs(lat_deg) <= 90.0


@njit(cache=True, error_model="numpy")
def tidy_polygon(out: Outline, size: int) -> int:
    """Drop vertices that repeat their predecessor; how many numbers stay, 0 if they are no
    polygon smaller than a hemisphere."""
    kept = 0
    for i in range(0, size, 3):
        x, y, z = out[i], out[i + 1], out[i + 2]
        k = kept - 3
        if kept and angle(out[k], out[k + 1], out[k + 2], x, y, z) <= FUZZ_RAD:
            continue
        out[kept], out[kept + 1], out[kept + 2] = x, y, z
        kept += 3
    while kept > 3 and _span(out, kept - 3, 0) <= FUZZ_RAD:
        kept -= 3
    if kept < 9 or centre_of(out[:kept])[3] < -1.0:
        return 0
    return kept


@njit(cache=True, error_model="numpy")
def _side(ax: float, ay: float, bx: float, by: float, cx: float, cy: float) -> float:
    """As :func:`app.sky.areas.side_of`."""
    left, right = (bx - ax) * (cy - ay), (by - ay) * (cx - ax)
    lengths = abs(bx - ax) + abs(by - ay) + abs(cx - ax) + abs(cy - ay)
    doubt = ROUNDING * (abs(left) + abs(right) + lengths)
    return left - right if abs(left - right) > doubt else 0.0


@njit(cache=True, error_model="numpy")
def is_simple(q: Outline) -> bool:
    """Whether no two edges of a polygon cross or touch except neighbours at their corner."""
    n = q.size // 3
    cx, cy, cz, _ = centre_of(q)
    ux, uy, uz, vx, vy, vz = axes_of(cx, cy, cz)
    x, y = np.empty(n), np.empty(n)
    for i in range(n):
        k = 3 * i
        d = q[k] * cx + q[k + 1] * cy + q[k + 2] * cz
        x[i] = (q[k] * ux + q[k + 1] * uy + q[k + 2] * uz) / d
        y[i] = (q[k] * vx + q[k + 1] * vy + q[k + 2] * vz) / d
    return is_simple_in_plane(x, y)


@njit(cache=True, error_model="numpy", nogil=True)
def is_simple_in_plane(x: Outline, y: Outline) -> bool:
    """The same of corners in the plane."""
    n = x.size
    for i in range(n):
        k = (i + 1) % n
        for j in range(i + 2, n):
            m = (j + 1) % n
            if m == i or _apart(x[i], x[k], x[j], x[m]) or _apart(y[i], y[k], y[j], y[m]):
                continue
            one = _side(x[i], y[i], x[k], y[k], x[j], y[j])
            two = _side(x[i], y[i], x[k], y[k], x[m], y[m])
            three = _side(x[j], y[j], x[m], y[m], x[i], y[i])
            four = _side(x[j], y[j], x[m], y[m], x[k], y[k])
            if one * two <= 0.0 and three * four <= 0.0:
                return False
    return True


@njit(cache=True, error_model="numpy")
def _apart(a: float, b: float, c: float, d: float) -> bool:
    """Whether two intervals, their ends in any order, have nothing in common."""
    return max(a, b) + ROUNDING < min(c, d) or max(c, d) + ROUNDING < min(a, b)


@njit(cache=True, error_model="numpy")
def put_box(
    out: Outline, lon_deg: float, lat_deg: float, width_deg: float, height_deg: float
) -> bool:
    """Write the corners of ADQL's box (:func:`app.sky.stcs.box_from`); False if it is none."""
    wide = 0.0 < width_deg < 180.0 and 0.0 < height_deg < 180.0
    if not (wide and is_direction(lon_deg, lat_deg)):
        return False
    lon, lat = lon_deg * RADIANS_PER_DEGREE, lat_deg * RADIANS_PER_DEGREE
    for k in range(4):
        a = (-0.5 if k in (0, 3) else 0.5) * width_deg * RADIANS_PER_DEGREE
        d = (-0.5 if k < 2 else 0.5) * height_deg * RADIANS_PER_DEGREE
        x, y, z = math.cos(a) * math.cos(d), math.sin(a) * math.cos(d), math.sin(d)
        outward = x * math.cos(lat) - z * math.sin(lat)
        north = x * math.sin(lat) + z * math.cos(lat)
        out[3 * k] = outward * math.cos(lon) - y * math.sin(lon)
        out[3 * k + 1] = outward * math.sin(lon) + y * math.cos(lon)
        out[3 * k + 2] = north
    return True

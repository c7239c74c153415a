"""The predicates of this room on outlines, compiled.

The same questions as :mod:`app.sky.predicates` asks, of the flat rows of doubles that
:mod:`app.sky.outlines` makes, for callers that ask them of very many regions. Every function here
follows its namesake there step by step; a test holds them together. Angles are radians.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from app.sky.predicates import ONE_POINT_DEG
from app.sky.vectors import FUZZ_RAD

Outline = Any
"""A contiguous array of float64: 3 (a direction), 4 (a circle) or 3 n numbers (a polygon)."""

_MIN_COSINE = 1e-4
_TWO_PI = 2.0 * math.pi
_ONE_POINT_RAD = math.radians(ONE_POINT_DEG)


@njit(cache=True, error_model="numpy")
def angle(ax: float, ay: float, az: float, bx: float, by: float, bz: float) -> float:
    """Angle between two vectors."""
    cx, cy, cz = ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx
    return math.atan2(math.sqrt(cx * cx + cy * cy + cz * cz), ax * bx + ay * by + az * bz)


@njit(cache=True, error_model="numpy")
def _cosines(q: Outline, x: float, y: float, z: float) -> tuple[float, float]:
    """Least and greatest cosine between a direction and the vertices."""
    low, high = 2.0, -2.0
    for i in range(0, q.size, 3):
        cosine = q[i] * x + q[i + 1] * y + q[i + 2] * z
        low, high = min(low, cosine), max(high, cosine)
    return low, high


@njit(cache=True, error_model="numpy")
def _candidate(q: Outline, attempt: int) -> tuple[float, float, float]:
    """Mean of the vertices, area vector, or centre of a nearly minimal enclosing cap."""
    x = y = z = 0.0
    n = q.size
    if attempt < 2:
        for i in range(0, n, 3):
            if attempt == 0:
                x, y, z = x + q[i], y + q[i + 1], z + q[i + 2]
                continue
            j = (i + 3) % n
            x += q[i + 1] * q[j + 2] - q[i + 2] * q[j + 1]
            y += q[i + 2] * q[j] - q[i] * q[j + 2]
            z += q[i] * q[j + 1] - q[i + 1] * q[j]
        return x, y, z
    x, y, z = q[0], q[1], q[2]
    for step in range(1, 200):
        far, least = 0, 1e9
        for i in range(0, n, 3):
            cosine = x * q[i] + y * q[i + 1] + z * q[i + 2]
            if cosine < least:
                far, least = i, cosine
        share = 1.0 / (step + 1)
        u = x + (q[far] - x) * share
        v = y + (q[far + 1] - y) * share
        w = z + (q[far + 2] - z) * share
        if math.sqrt(u * u + v * v + w * w) > 1e-9:
            x, y, z = u, v, w
    return x, y, z


@njit(cache=True, error_model="numpy")
def centre_of(q: Outline) -> tuple[float, float, float, float]:
    """A direction less than 90 deg from every vertex and the cosine of the cap about it that
    holds them; a cosine of -2 if there is none."""
    for attempt in range(3):
        x, y, z = _candidate(q, attempt)
        length = math.sqrt(x * x + y * y + z * z)
        if length < 1e-12:
            continue
        x, y, z = x / length, y / length, z / length
        low, high = _cosines(q, x, y, z)
        if low > _MIN_COSINE:
            return x, y, z, low
        if high < -_MIN_COSINE:
            return -x, -y, -z, -high
    return 0.0, 0.0, 1.0, -2.0


@njit(cache=True, error_model="numpy")
def axes_of(x: float, y: float, z: float) -> tuple[float, float, float, float, float, float]:
    """Two unit vectors that span the tangent plane."""
    if abs(z) < 0.9:
        ux, uy, uz = -y, x, 0.0
    else:
        ux, uy, uz = 0.0, -z, y
    length = math.sqrt(ux * ux + uy * uy + uz * uz)
    ux, uy, uz = ux / length, uy / length, uz / length
    return ux, uy, uz, y * uz - z * uy, z * ux - x * uz, x * uy - y * ux


@njit(cache=True, error_model="numpy")
def _axis(q: Outline, i: int, j: int) -> tuple[float, float, float]:
    """Unit normal of the great circle from vertex i to vertex j."""
    x = q[i + 1] * q[j + 2] - q[i + 2] * q[j + 1]
    y = q[i + 2] * q[j] - q[i] * q[j + 2]
    z = q[i] * q[j + 1] - q[i + 1] * q[j]
    length = math.sqrt(x * x + y * y + z * z)
    return x / length, y / length, z / length


@njit(cache=True, error_model="numpy")
def _span(q: Outline, i: int, j: int) -> float:
    return angle(q[i], q[i + 1], q[i + 2], q[j], q[j + 1], q[j + 2])


@njit(cache=True, error_model="numpy")
def _along(
    q: Outline, i: int, nx: float, ny: float, nz: float, x: float, y: float, z: float
) -> tuple[float, float]:
    """Components of a direction along vertex i and across it, on the great circle of normal n."""
    first = q[i] * x + q[i + 1] * y + q[i + 2] * z
    sx = ny * q[i + 2] - nz * q[i + 1]
    sy = nz * q[i] - nx * q[i + 2]
    sz = nx * q[i + 1] - ny * q[i]
    return first, sx * x + sy * y + sz * z


@njit(cache=True, error_model="numpy")
def _arc_distance(q: Outline, i: int, j: int, x: float, y: float, z: float) -> float:
    nx, ny, nz = _axis(q, i, j)
    along, across = _along(q, i, nx, ny, nz, x, y, z)
    if math.atan2(across, along) % _TWO_PI <= _span(q, i, j):
        height = nx * x + ny * y + nz * z
        return abs(math.atan2(height, math.sqrt(along * along + across * across)))
    return min(angle(q[i], q[i + 1], q[i + 2], x, y, z), angle(q[j], q[j + 1], q[j + 2], x, y, z))


@njit(cache=True, error_model="numpy")
def _in_polygon(q: Outline, x: float, y: float, z: float) -> bool:
    cx, cy, cz, cap = centre_of(q)
    depth = x * cx + y * cy + z * cz
    if cap < -1.0 or depth < cap - 2.0 * FUZZ_RAD:
        return False
    ux, uy, uz, vx, vy, vz = axes_of(cx, cy, cz)
    px = (x * ux + y * uy + z * uz) / depth
    py = (x * vx + y * vy + z * vz) / depth
    slack = 4.0 * FUZZ_RAD / (cap * cap)
    inside = False
    n = q.size
    last = q[n - 3] * cx + q[n - 2] * cy + q[n - 1] * cz
    x1 = (q[n - 3] * ux + q[n - 2] * uy + q[n - 1] * uz) / last
    y1 = (q[n - 3] * vx + q[n - 2] * vy + q[n - 1] * vz) / last
    previous = n - 3
    for i in range(0, n, 3):
        d = q[i] * cx + q[i + 1] * cy + q[i + 2] * cz
        x2 = (q[i] * ux + q[i + 1] * uy + q[i + 2] * uz) / d
        y2 = (q[i] * vx + q[i + 1] * vy + q[i + 2] * vz) / d
        if (y1 > py) != (y2 > py) and px < x1 + (py - y1) * (x2 - x1) / (y2 - y1):
            inside = not inside
        dx, dy, ax, ay = x2 - x1, y2 - y1, px - x1, py - y1
        length = math.sqrt(dx * dx + dy * dy)
        if abs(dx * ay - dy * ax) <= slack * length:
            run = dx * ax + dy * ay
            near = -slack * length <= run <= length * (length + slack)
            if near and _arc_distance(q, previous, i, x, y, z) <= FUZZ_RAD:
                return True
        x1, y1, previous = x2, y2, i
    return inside


@njit(cache=True, error_model="numpy")
def contains(q: Outline, x: float, y: float, z: float) -> bool:
    """Whether a direction lies in the outline, boundary included."""
    if q.size == 3:
        return angle(q[0], q[1], q[2], x, y, z) < _ONE_POINT_RAD
    if q.size == 4:
        return angle(q[0], q[1], q[2], x, y, z) <= q[3] + FUZZ_RAD
    return _in_polygon(q, x, y, z)


@njit(cache=True, error_model="numpy")
def rim_distance(q: Outline, x: float, y: float, z: float) -> float:
    """Angle from a direction to the nearest point of the boundary."""
    if q.size == 3:
        return angle(q[0], q[1], q[2], x, y, z)
    if q.size == 4:
        return abs(angle(q[0], q[1], q[2], x, y, z) - q[3])
    nearest = 10.0
    previous = q.size - 3
    for i in range(0, q.size, 3):
        nearest = min(nearest, _arc_distance(q, previous, i, x, y, z))
        previous = i
    return nearest


@njit(cache=True, error_model="numpy")
def distance(q: Outline, x: float, y: float, z: float) -> float:
    """Angle from a direction to the outline; 0 inside."""
    return 0.0 if contains(q, x, y, z) else rim_distance(q, x, y, z)


@njit(cache=True, error_model="numpy")
def _touches_cap(q: Outline, x: float, y: float, z: float, radius: float) -> bool:
    """Whether an outline and a circle have a direction in common."""
    if q.size == 3:
        return angle(q[0], q[1], q[2], x, y, z) <= radius + FUZZ_RAD
    if q.size == 4:
        return angle(q[0], q[1], q[2], x, y, z) <= q[3] + radius + FUZZ_RAD
    cx, cy, cz, cap = centre_of(q)
    reach = radius + math.acos(max(-1.0, min(1.0, cap))) + 1e-7
    if reach < math.pi and angle(cx, cy, cz, x, y, z) > reach:
        return False
    return distance(q, x, y, z) <= radius + FUZZ_RAD


@njit(cache=True, error_model="numpy")
def _crossings(a: Outline, i: int, j: int, b: Outline, k: int, m: int) -> tuple[float, float]:
    """Turns along the edge i-j of ``a`` at which it meets the edge k-m of ``b``; -1 for none."""
    nx, ny, nz = _axis(a, i, j)
    mx, my, mz = _axis(b, k, m)
    s1 = mx * a[i] + my * a[i + 1] + mz * a[i + 2]
    s2 = mx * a[j] + my * a[j + 1] + mz * a[j + 2]
    slack = 4.0 * FUZZ_RAD
    if (s1 > slack and s2 > slack) or (s1 < -slack and s2 < -slack):
        return -1.0, -1.0
    cosine = nx * mx + ny * my + nz * mz
    sine2 = 1.0 - cosine * cosine
    if sine2 < 1e-24:
        return -1.0, -1.0
    scale = 1.0 / math.sqrt(sine2)
    x, y, z = (ny * mz - nz * my) * scale, (nz * mx - nx * mz) * scale, (nx * my - ny * mx) * scale
    span, other = _span(a, i, j), _span(b, k, m)
    first = second = -1.0
    for sign in (1.0, -1.0):
        along, across = _along(b, k, mx, my, mz, sign * x, sign * y, sign * z)
        turn = math.atan2(across, along) % _TWO_PI
        if other + FUZZ_RAD < turn < _TWO_PI - FUZZ_RAD:
            continue
        along, across = _along(a, i, nx, ny, nz, sign * x, sign * y, sign * z)
        turn = math.atan2(across, along) % _TWO_PI
        if span + FUZZ_RAD < turn < _TWO_PI - FUZZ_RAD:
            continue
        if first < 0.0:
            first = turn
        else:
            second = turn
    return first, second


@njit(cache=True, error_model="numpy")
def overlaps(a: Outline, b: Outline) -> bool:
    """Whether two outlines have a direction in common."""
    if a.size == 4 or (a.size == 3 and b.size != 4):
        return _touches(b, a)
    if b.size <= 4:
        return _touches(a, b)
    return _polygons_overlap(a, b)


@njit(cache=True, error_model="numpy")
def _touches(q: Outline, cap: Outline) -> bool:
    """Whether an outline has a direction in common with a circle or a point."""
    if cap.size == 3:
        return contains(q, cap[0], cap[1], cap[2])
    return _touches_cap(q, cap[0], cap[1], cap[2], cap[3])


@njit(cache=True, error_model="numpy")
def _polygons_overlap(a: Outline, b: Outline) -> bool:
    ax, ay, az, acap = centre_of(a)
    bx, by, bz, bcap = centre_of(b)
    reach = math.acos(min(1.0, acap)) + math.acos(min(1.0, bcap)) + 1e-7
    if reach < math.pi and angle(ax, ay, az, bx, by, bz) > reach:
        return False
    for i in range(0, a.size, 3):
        if _in_polygon(b, a[i], a[i + 1], a[i + 2]):
            return True
    for i in range(0, b.size, 3):
        if _in_polygon(a, b[i], b[i + 1], b[i + 2]):
            return True
    i = a.size - 3
    for j in range(0, a.size, 3):
        k = b.size - 3
        for m in range(0, b.size, 3):
            if _crossings(a, i, j, b, k, m)[0] >= 0.0:
                return True
            k = m
        i = j
    return False


@njit(cache=True, error_model="numpy")
def _arc_within(outer: Outline, inner: Outline, i: int, j: int) -> bool:
    """Cut the edge wherever it meets the boundary; then the middle of each piece decides."""
    span = _span(inner, i, j)
    cuts = np.empty(2 + 2 * (outer.size // 3))
    cuts[0], cuts[1] = 0.0, span
    count = 2
    k = outer.size - 3
    for m in range(0, outer.size, 3):
        first, second = _crossings(inner, i, j, outer, k, m)
        if first >= 0.0:
            cuts[count] = min(first, span)
            count += 1
        if second >= 0.0:
            cuts[count] = min(second, span)
            count += 1
        k = m
    ends = np.sort(cuts[:count])
    nx, ny, nz = _axis(inner, i, j)
    fx, fy, fz = inner[i], inner[i + 1], inner[i + 2]
    sx, sy, sz = ny * fz - nz * fy, nz * fx - nx * fz, nx * fy - ny * fx
    for step in range(count - 1):
        if ends[step + 1] - ends[step] > FUZZ_RAD:
            turn = (ends[step] + ends[step + 1]) / 2.0
            c, s = math.cos(turn), math.sin(turn)
            if not _in_polygon(outer, fx * c + sx * s, fy * c + sy * s, fz * c + sz * s):
                return False
    return True


@njit(cache=True, error_model="numpy")
def holds(outer: Outline, inner: Outline) -> bool:
    """Whether every direction of ``inner`` lies in ``outer``."""
    if inner.size == 3:
        return contains(outer, inner[0], inner[1], inner[2])
    if outer.size == 4:
        return _cap_holds(outer, inner)
    if inner.size == 4 and outer.size > 4:
        x, y, z = inner[0], inner[1], inner[2]
        inside = _in_polygon(outer, x, y, z)
        return inside and rim_distance(outer, x, y, z) >= inner[3] - FUZZ_RAD
    return outer.size > 4 and _polygon_holds(outer, inner)


@njit(cache=True, error_model="numpy")
def _cap_holds(cap: Outline, inner: Outline) -> bool:
    x, y, z, radius = cap[0], cap[1], cap[2], cap[3]
    if inner.size == 4:
        farthest = angle(x, y, z, inner[0], inner[1], inner[2]) + inner[3]
        return min(math.pi, farthest) <= radius + FUZZ_RAD
    return math.pi - distance(inner, -x, -y, -z) <= radius + FUZZ_RAD


@njit(cache=True, error_model="numpy")
def _polygon_holds(outer: Outline, inner: Outline) -> bool:
    for i in range(0, inner.size, 3):
        if not _in_polygon(outer, inner[i], inner[i + 1], inner[i + 2]):
            return False
    i = inner.size - 3
    for j in range(0, inner.size, 3):
        if not _arc_within(outer, inner, i, j):
            return False
        i = j
    cx, cy, cz, _ = centre_of(outer)
    return not _in_polygon(inner, -cx, -cy, -cz)

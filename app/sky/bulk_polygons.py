"""Many polygons at a time: texts of numbers to boxes and outlines, compiled.

The same arithmetic as :mod:`app.sky.areas` and :mod:`app.sky.boxes`; what is out of the ordinary
(a circle, a doubled vertex, crossing edges, a polygon near a hemisphere, a number with more than
18 digits) is
left to them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numba
import numpy as np

from app.sky.kernel_measures import is_simple_in_plane
from app.sky.vectors import FUZZ_RAD, RADIANS_PER_DEGREE

Numbers = np.ndarray[Any, np.dtype[np.float64]]
Offsets = np.ndarray[Any, np.dtype[np.int64]]
Flags = np.ndarray[Any, np.dtype[np.bool_]]

BOX_MARGIN: Final = 4.0 * FUZZ_RAD
_MIN_COSINE: Final = 1e-4
_MAX_VERTICES: Final = 4096


@dataclass(frozen=True, slots=True)
class BulkPolygons:
    """``plain``: which texts were understood. Of those, ``boxes`` holds (x_min, x_max, y_min …)
    and ``vectors[3 * starts[i] : 3 * starts[i + 1]]`` the unit vectors of the vertices;
    ``centres`` and ``cosines`` are the cap about each (unit vector, cosine of its radius)."""

    plain: Flags
    boxes: Numbers
    vectors: Numbers
    starts: Offsets
    centres: Numbers
    cosines: Numbers


def read_polygons(text: bytes | memoryview, ends: Offsets, prefix: int) -> BulkPolygons:
    """Polygons whose numbers begin ``prefix`` bytes into each text.

    ``ends`` are the boundaries of the texts in the bytes (as many as texts, and one). Degrees;
    vertices are pairs of longitude and latitude, not closed.
    """
    count = len(ends) - 1
    boxes, centres = np.zeros((count, 6)), np.zeros((count, 3))
    cosines, starts = np.zeros(count), np.empty(count + 1, np.int64)
    # A vertex takes four bytes at least: two digits and two blanks.
    vectors = np.empty(3 * (len(text) // 4 + 1 + count))
    plain = np.zeros(count, np.bool_)
    used = _read_all(
        np.frombuffer(text, np.uint8), ends, prefix, plain, boxes, vectors, starts, centres, cosines
    )
    return BulkPolygons(plain, boxes, vectors[: 3 * used], starts, centres, cosines)


@numba.njit(cache=True, nogil=True)
def _read_all(
    text: Any,
    ends: Any,
    prefix: int,
    plain: Any,
    boxes: Any,
    vectors: Any,
    starts: Any,
    centres: Any,
    cosines: Any,
) -> int:
    numbers, corners = np.empty(2 * _MAX_VERTICES), np.empty((_MAX_VERTICES, 2))
    axes = np.empty((3, 3))
    used = 0
    for row in range(len(ends) - 1):
        starts[row] = used
        count = _numbers(text, ends[row] + prefix, ends[row + 1], numbers)
        if count < 6 or count % 2:
            continue
        own = vectors[3 * used : 3 * used + 3 * (count // 2)]
        if not _unit_vectors(numbers, count, own):
            continue
        vertices = own.reshape(-1, 3)
        if not _cap(vertices, centres[row], cosines, row):
            continue
        _project(vertices, centres[row], axes, corners)
        plane = corners[: len(vertices)]
        if not is_simple_in_plane(plane[:, 0], plane[:, 1]):
            continue
        _box(vertices, corners, axes, cosines[row], boxes[row])
        plain[row] = True
        used += count // 2
    starts[len(ends) - 1] = used
    return used


@numba.njit(cache=True, nogil=True)
def _numbers(text: Any, start: int, end: int, numbers: Any) -> int:
    """The numbers of a text; how many, or -1 if something else stands there."""
    count = 0
    at = start
    while True:
        while at < end and text[at] == 32:
            at += 1
        if at >= end:
            return count
        if count == len(numbers):
            return -1
        sign = 1.0
        if text[at] == 45 or text[at] == 43:
            sign = -1.0 if text[at] == 45 else 1.0
            at += 1
        mantissa, digits, decimals, seen_point = 0, 0, 0, False
        while at < end and text[at] != 32:
            symbol = text[at]
            if 48 <= symbol <= 57:
                mantissa = mantissa * 10 + (symbol - 48)
                digits += 1
                decimals += 1 if seen_point else 0
            elif symbol == 46 and not seen_point:
                seen_point = True
            else:
                return -1
            at += 1
        if digits == 0 or digits > 18:
            return -1
        numbers[count] = sign * (mantissa / 10.0**decimals)
        count += 1


@numba.njit(cache=True, nogil=True)
def _unit_vectors(numbers: Any, count: int, vectors: Any) -> bool:
    """Whether all numbers are directions and no vertex repeats its predecessor."""
    for k in range(count // 2):
        lon, lat = numbers[2 * k], numbers[2 * k + 1]
        if not (-360.0 <= lon <= 360.0 and -90.0 <= lat <= 90.0):
            return False
        lon, lat = (lon % 360.0) * RADIANS_PER_DEGREE, lat * RADIANS_PER_DEGREE
        vectors[3 * k] = math.cos(lon) * math.cos(lat)
        vectors[3 * k + 1] = math.sin(lon) * math.cos(lat)
        vectors[3 * k + 2] = math.sin(lat)
    n = count // 2
    for k in range(n):
        other = (k + 1) % n
        distance2 = 0.0
        for axis in range(3):
            step = vectors[3 * k + axis] - vectors[3 * other + axis]
            distance2 += step * step
        if distance2 <= (2.0 * FUZZ_RAD) ** 2:
            return False
    return True


@numba.njit(cache=True, nogil=True)
def _cap(vertices: Any, centre: Any, cosines: Any, row: int) -> bool:
    """The cap about the mean direction; False when that is no good centre."""
    length2 = 0.0
    for axis in range(3):
        centre[axis] = vertices[:, axis].sum()
        length2 += centre[axis] ** 2
    if length2 < 1e-20:
        return False
    least = 2.0
    for axis in range(3):
        centre[axis] /= math.sqrt(length2)
    for k in range(len(vertices)):
        cosine = (
            centre[0] * vertices[k, 0] + centre[1] * vertices[k, 1] + centre[2] * vertices[k, 2]
        )
        least = min(least, cosine)
    cosines[row] = least
    return least > _MIN_COSINE


@numba.njit(cache=True, nogil=True)
def _box(vertices: Any, corners: Any, axes: Any, cosine: float, box: Any) -> None:
    """Bounds of the polygon, the bulge of its edges and the poles inside it included."""
    n = len(vertices)
    for axis in range(3):
        low, high = vertices[0, axis], vertices[0, axis]
        for k in range(n):
            turned_low, turned_high = _bulge(vertices[k], vertices[(k + 1) % n], axis)
            low, high = min(low, turned_low), max(high, turned_high)
        depth = axes[2, axis]
        # If the axis, or its opposite, lies in the cap, is it in the polygon?
        if abs(depth) >= cosine - 2.0 * FUZZ_RAD and _inside(
            corners, n, axes[0, axis] / depth, axes[1, axis] / depth
        ):
            low, high = (low, 1.0) if depth > 0.0 else (-1.0, high)
        box[2 * axis] = low - BOX_MARGIN
        box[2 * axis + 1] = high + BOX_MARGIN


@numba.njit(cache=True, nogil=True)
def _bulge(a: Any, b: Any, axis: int) -> tuple[float, float]:
    """Least and greatest value of a component on the arc from a to b, where it turns back.

    The great circle's extreme towards an axis e is the unit vector of e less its part along the
    pole p; it lies on the arc when it is between a and b as seen about p.
    """
    p0 = a[1] * b[2] - a[2] * b[1]
    p1 = a[2] * b[0] - a[0] * b[2]
    p2 = a[0] * b[1] - a[1] * b[0]
    length = math.sqrt(p0 * p0 + p1 * p1 + p2 * p2)
    p0, p1, p2 = p0 / length, p1 / length, p2 / length
    along = p0 if axis == 0 else (p1 if axis == 1 else p2)
    summit = math.sqrt(max(0.0, 1.0 - along * along))
    low, high = min(a[axis], b[axis]), max(a[axis], b[axis])
    if summit < 1e-15:
        return low, high
    e0 = ((1.0 if axis == 0 else 0.0) - along * p0) / summit
    e1 = ((1.0 if axis == 1 else 0.0) - along * p1) / summit
    e2 = ((1.0 if axis == 2 else 0.0) - along * p2) / summit
    after_a = (
        p0 * (a[1] * e2 - a[2] * e1) + p1 * (a[2] * e0 - a[0] * e2) + p2 * (a[0] * e1 - a[1] * e0)
    )
    before_b = (
        p0 * (e1 * b[2] - e2 * b[1]) + p1 * (e2 * b[0] - e0 * b[2]) + p2 * (e0 * b[1] - e1 * b[0])
    )
    if after_a >= -FUZZ_RAD and before_b >= -FUZZ_RAD:
        high = max(high, summit)
    if after_a <= FUZZ_RAD and before_b <= FUZZ_RAD:
        low = min(low, -summit)
    return low, high


@numba.njit(cache=True, nogil=True)
def _project(vertices: Any, centre: Any, axes: Any, corners: Any) -> None:
    """The vertices in the gnomonic plane about the centre; ``axes`` get (east, north, centre)."""
    o0, o2 = (0.0, 1.0) if abs(centre[2]) < 0.9 else (1.0, 0.0)
    u0, u1, u2 = -o2 * centre[1], o2 * centre[0] - o0 * centre[2], o0 * centre[1]
    length = math.sqrt(u0 * u0 + u1 * u1 + u2 * u2)
    axes[0, 0], axes[0, 1], axes[0, 2] = u0 / length, u1 / length, u2 / length
    axes[1, 0] = centre[1] * axes[0, 2] - centre[2] * axes[0, 1]
    axes[1, 1] = centre[2] * axes[0, 0] - centre[0] * axes[0, 2]
    axes[1, 2] = centre[0] * axes[0, 1] - centre[1] * axes[0, 0]
    axes[2, 0], axes[2, 1], axes[2, 2] = centre[0], centre[1], centre[2]
    for k in range(len(vertices)):
        v = vertices[k]
        depth = v[0] * centre[0] + v[1] * centre[1] + v[2] * centre[2]
        for side in range(2):
            a = axes[side]
            corners[k, side] = (v[0] * a[0] + v[1] * a[1] + v[2] * a[2]) / depth


@numba.njit(cache=True, nogil=True)
def _inside(corners: Any, n: int, x: float, y: float) -> bool:
    """The even-odd rule."""
    inside = False
    for k in range(n):
        x1, y1 = corners[k, 0], corners[k, 1]
        x2, y2 = corners[(k + 1) % n, 0], corners[(k + 1) % n, 1]
        if (y1 > y) != (y2 > y) and x < x1 + (y - y1) * (x2 - x1) / (y2 - y1):
            inside = not inside
    return inside

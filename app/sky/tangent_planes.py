"""Many polygons at a time, each carried into the plane that touches the sky at its centre.

In that (gnomonic) plane great circles are straight lines, so a database that knows polygons of the
plane tells exactly whether one holds a point. The two circles about the centre, inside the polygon
and around it, settle most questions before.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numba
import numpy as np

from app.sky.bulk_polygons import BulkPolygons, Flags, Numbers
from app.sky.vectors import FUZZ_RAD, RADIANS_PER_DEGREE

NOT_INSIDE_RAD: Final = -10.0
"""Inner radius of a polygon that does not hold its own centre: it settles nothing."""

OUTER_MARGIN_RAD: Final = 2.0 * FUZZ_RAD

LEAST_COSINE: Final = 0.5
"""Beyond 60 deg from the centre the plane stretches too much."""
LEAST_EDGE_RAD: Final = 2e-6
"""PostgreSQL takes a product of lengths below 1e-6 of its units for none: at this length, 32768
units a radian, that is half of our own fuzz."""
_POLE_MARGIN_RAD: Final = 1e-6


@dataclass(frozen=True, slots=True)
class TangentPolygons:
    """``corners[2 * starts[i] : 2 * starts[i + 1]]`` are the vertices in the plane (rad at the
    centre), where ``has_plane``; ``inner`` and ``outer`` the radii (rad) of the circles;
    ``bounds`` the least and greatest longitude and latitude (deg: lon, lat, lon, lat), all
    longitudes for what holds a pole or longitude 0."""

    corners: Numbers
    inner: Numbers
    outer: Numbers
    bounds: Numbers
    has_plane: Flags


def tangent_polygons(polygons: BulkPolygons) -> TangentPolygons:
    """What :class:`TangentPolygons` tells of the plain ones; of others it means nothing."""
    count = len(polygons.plain)
    corners, radii = np.zeros(2 * int(polygons.starts[-1])), np.zeros((count, 2))
    spans, are_long = np.zeros((count, 2)), np.zeros(count, np.bool_)
    _carry_all(polygons.vectors, polygons.starts, polygons.centres, corners, radii, spans, are_long)
    outer = radii[:, 1] + OUTER_MARGIN_RAD
    has_plane = polygons.plain & are_long & (polygons.cosines > LEAST_COSINE)
    return TangentPolygons(
        corners=corners,
        inner=radii[:, 0],
        outer=outer,
        bounds=_bounds(polygons, spans, outer),
        has_plane=has_plane,
    )


def _bounds(polygons: BulkPolygons, spans: Any, outer: Any) -> Numbers:
    """Of the vectors' boxes and of the longitudes about those of the centres."""
    x, y, z = polygons.centres.T
    lon = np.degrees(np.arctan2(y, x)) % 360.0
    low, high = lon + spans[:, 0], lon + spans[:, 1]
    lat = np.degrees(np.arcsin(np.clip(polygons.boxes[:, 4:6], -1.0, 1.0)))
    polar = np.abs(np.arcsin(np.clip(z, -1.0, 1.0))) + outer > math.pi / 2 - _POLE_MARGIN_RAD
    everywhere = polar | (low < 1e-6) | (high > 360.0 - 1e-6)
    low, high = np.where(everywhere, -1.0, low), np.where(everywhere, 361.0, high)
    return np.stack([low, lat[:, 0], high, lat[:, 1]], axis=-1)


@numba.njit(cache=True, nogil=True)
def _carry_all(
    vectors: Any, starts: Any, centres: Any, corners: Any, radii: Any, spans: Any, are_long: Any
) -> None:
    for row in range(len(starts) - 1):
        own = vectors[3 * starts[row] : 3 * starts[row + 1]].reshape(-1, 3)
        if len(own) < 3:
            continue
        plane = corners[2 * starts[row] : 2 * starts[row + 1]].reshape(-1, 2)
        _carry(own, centres[row], plane)
        radii[row, 0], radii[row, 1] = _inner_radius(plane), _outer_radius(plane)
        are_long[row] = _has_long_edges(plane)
        _span(own, centres[row], spans[row])


@numba.njit(cache=True, nogil=True)
def _carry(vertices: Any, centre: Any, plane: Any) -> None:
    """Coordinates along the axes of Duff et al. (2017, JCGT 6, 1), mirrored in the south. They are
    those of ``adql_tangent`` in the database."""
    x, y, z = centre[0], centre[1], centre[2]
    for k in range(len(vertices)):
        u, v, w = vertices[k, 0], vertices[k, 1], vertices[k, 2]
        depth = x * u + y * v + z * w
        turn = (x * u + y * v) / (1.0 + abs(z)) + (-w if z < 0.0 else w)
        plane[k, 0], plane[k, 1] = (u - x * turn) / depth, (v - y * turn) / depth


@numba.njit(cache=True, nogil=True)
def _inner_radius(plane: Any) -> float:
    """Angle from the centre to the nearest edge, if it lies inside."""
    n = len(plane)
    least, inside = math.inf, False
    for k in range(n):
        x1, y1 = plane[k, 0], plane[k, 1]
        x2, y2 = plane[(k + 1) % n, 0], plane[(k + 1) % n, 1]
        dx, dy = x2 - x1, y2 - y1
        at = min(1.0, max(0.0, -(x1 * dx + y1 * dy) / (dx * dx + dy * dy)))
        least = min(least, math.hypot(x1 + at * dx, y1 + at * dy))
        if (y1 > 0.0) != (y2 > 0.0) and x1 - y1 * dx / dy > 0.0:
            inside = not inside
    return math.atan(least) if inside else NOT_INSIDE_RAD


@numba.njit(cache=True, nogil=True)
def _outer_radius(plane: Any) -> float:
    """Angle from the centre to the farthest corner."""
    most = 0.0
    for k in range(len(plane)):
        most = max(most, math.hypot(plane[k, 0], plane[k, 1]))
    return math.atan(most)


@numba.njit(cache=True, nogil=True)
def _has_long_edges(plane: Any) -> bool:
    n = len(plane)
    for k in range(n):
        j = (k + 1) % n
        if math.hypot(plane[j, 0] - plane[k, 0], plane[j, 1] - plane[k, 1]) < LEAST_EDGE_RAD:
            return False
    return True


@numba.njit(cache=True, nogil=True)
def _span(vertices: Any, centre: Any, span: Any) -> None:
    """Least and greatest longitude (deg) from that of the centre on."""
    low, high = 0.0, 0.0
    for k in range(len(vertices)):
        v = vertices[k]
        turn = math.atan2(centre[0] * v[1] - centre[1] * v[0], centre[0] * v[0] + centre[1] * v[1])
        low, high = min(low, turn), max(high, turn)
    span[0], span[1] = low / RADIANS_PER_DEGREE, high / RADIANS_PER_DEGREE

"""Polygons as pgSphere takes them.

pgSphere compares with a fuzz of 1e-9 rad, so it takes neighbouring edges that bend by about that
much for edges that overlap, and refuses the polygon; it also refuses more than 1024 vertices. Such
a polygon is thinned until it is accepted, by the least of a few tolerances: the boundary in the
index then differs from ``s_region`` by far less than a pixel.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import psycopg
import sqlalchemy as sa

from app.errors import UsageError
from app.sky.shapes import Polygon
from app.sky.vectors import Vector, add, angle, cross, dot, norm, normalized, unit_vector

TOLERANCES_RAD: Final = (1e-9, 1e-8, 1e-7, 1e-6)
"""How far the boundary may be moved, tried in turn; the last is 0.2 arcsec."""

_PROBE: Final = sa.text("SELECT CAST(:spoly AS spoly) IS NOT NULL")


def format_spoly(polygon: Polygon) -> str:
    """pgSphere's text form, in degrees."""
    return "{" + ", ".join(f"({lon!r}d, {lat!r}d)" for lon, lat in polygon.vertices) + "}"


def accepted_spoly(connection: sa.Connection, polygon: Polygon, name: str) -> str:
    """The text of the polygon, or of the most similar one that this pgSphere accepts.

    Raises UsageError, which calls the polygon ``name``, when it accepts none.
    """
    for candidate in (polygon, *(thinned(polygon, t) for t in TOLERANCES_RAD)):
        text = format_spoly(candidate)
        if _accepts(connection, text):
            return text
    raise UsageError(f"s_region of {name}: pgSphere takes its edges for overlapping ones")


def refuses_polygon(error: sa.exc.DBAPIError) -> bool:
    """Whether a statement failed because pgSphere refused a polygon."""
    return isinstance(error.orig, psycopg.errors.InternalError_)


def _accepts(connection: sa.Connection, text: str) -> bool:
    try:
        with connection.begin_nested():
            connection.execute(_PROBE, {"spoly": text})
    except sa.exc.DBAPIError as error:
        if not refuses_polygon(error):
            raise
        return False
    return True


def thinned(polygon: Polygon, tolerance_rad: float) -> Polygon:
    """The polygon without the vertices that lie within ``tolerance_rad`` of the arc between those
    that stay (opening window; each arc is held to all vertices it replaces).

    Needs at least three vertices to stay; otherwise the polygon comes back as it was.
    """
    ring = _from_a_corner([unit_vector(lon, lat) for lon, lat in polygon.vertices])
    order = [index for index, _ in ring]
    vectors = [vector for _, vector in ring]
    kept = [0]
    for end in range(2, len(vectors) + 1):
        between = vectors[kept[-1] + 1 : end]
        if _bends(vectors[kept[-1]], between, vectors[end % len(vectors)], tolerance_rad):
            kept.append(end - 1)
    if len(kept) < 3:
        return polygon
    return Polygon(tuple(polygon.vertices[order[k]] for k in kept))


def _from_a_corner(vectors: Sequence[Vector]) -> list[tuple[int, Vector]]:
    """(index, vector) in ring order, starting where the outline is farthest from its middle: a
    true corner, which may stay."""
    total: Vector = (0.0, 0.0, 0.0)
    for vector in vectors:
        total = add(total, vector)
    start = max(range(len(vectors)), key=lambda i: angle(total, vectors[i]))
    return [
        (i % len(vectors), vectors[i % len(vectors)]) for i in range(start, start + len(vectors))
    ]


def _bends(a: Vector, between: Sequence[Vector], b: Vector, tolerance_rad: float) -> bool:
    """Whether a vertex lies farther than the tolerance from the great circle through a and b."""
    pole = cross(a, b)
    if norm(pole) < 1e-15:
        return any(angle(a, v) > tolerance_rad for v in between)
    axis = normalized(pole)
    return any(abs(math.asin(max(-1.0, min(1.0, dot(axis, v))))) > tolerance_rad for v in between)

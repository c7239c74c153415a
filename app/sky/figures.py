"""Figures: regions as rows of numbers for exact tests in a database that knows no sphere.

A figure is 3 numbers (the unit vector of a direction), 4 (a circle's centre and its radius in
radians) or 10 + 5 n (a polygon: its centre, the cosine of the cap about it, two axes of the plane
that touches the sky there, then of each vertex the unit vector and the place in that plane). The
functions that compare them lie in ``migrations/sql``; ``adql_figure`` makes what this makes.
"""

from __future__ import annotations

from collections.abc import Sequence

from app.errors import RegionError
from app.sky.areas import CircleArea, PolygonArea, prepare
from app.sky.shapes import Point, Shape
from app.sky.vectors import unit_vector


def figure_of(shape: Shape) -> Sequence[float]:
    """The numbers of a point, circle or polygon. A coordinate range has none (RegionError)."""
    if isinstance(shape, Point):
        return unit_vector(shape.lon_deg, shape.lat_deg)
    area = prepare(shape)
    if isinstance(area, CircleArea):
        return (*area.centre, area.radius_rad)
    if isinstance(area, PolygonArea):
        first, second = area.axes
        vertices = zip(area.vectors, area.corners, strict=True)
        places = (number for vector, corner in vertices for number in (*vector, *corner))
        return (*area.centre, area.cap_cosine, *first, *second, *places)
    raise RegionError(str(shape), "a coordinate range is no figure of great circles")


def figure_text(shape: Shape) -> str:
    """The same as PostgreSQL reads arrays."""
    return "{" + ",".join(map(repr, figure_of(shape))) + "}"

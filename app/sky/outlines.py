"""Outlines: regions as bytes that are compared without reading any text.

A region is a row of little-endian doubles: the unit vectors of a polygon's vertices (24 bytes
each, at least three), a circle's centre and its radius in radians (32 bytes), or one unit vector
for a single direction (24 bytes).
"""

from __future__ import annotations

import struct

from app.errors import RegionError
from app.sky.areas import CircleArea, PolygonArea, prepare
from app.sky.shapes import Circle, Point, Polygon, Shape
from app.sky.stcs import parse_region
from app.sky.vectors import RADIANS_PER_DEGREE, direction, unit_vector


def outline_of(shape: Shape) -> bytes:
    """The bytes of a point, circle or polygon. A coordinate range has none (RegionError)."""
    if isinstance(shape, Point):
        return struct.pack("<3d", *unit_vector(shape.lon_deg, shape.lat_deg))
    area = prepare(shape)
    if isinstance(area, CircleArea):
        return struct.pack("<4d", *area.centre, area.radius_rad)
    if isinstance(area, PolygonArea):
        numbers = [x for vector in area.vectors for x in vector]
        return struct.pack(f"<{len(numbers)}d", *numbers)
    raise RegionError(str(shape), "a coordinate range has no outline of great circles")


def outline_of_text(text: str) -> bytes:
    """The bytes of a region's STC-S text. Raises RegionError."""
    return outline_of(parse_region(text))


def shape_of(outline: bytes) -> Shape:
    """The point, circle or polygon of an outline."""
    numbers = struct.unpack(f"<{len(outline) // 8}d", outline)
    if len(numbers) == 4:
        lon, lat = direction((numbers[0], numbers[1], numbers[2]))
        return Circle(lon, lat, numbers[3] / RADIANS_PER_DEGREE)
    vertices = [
        direction((numbers[k], numbers[k + 1], numbers[k + 2])) for k in range(0, len(numbers), 3)
    ]
    return Polygon(tuple(vertices)) if len(vertices) > 1 else Point(*vertices[0])

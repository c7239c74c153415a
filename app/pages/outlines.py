"""Footprints as the sky of a page draws them."""

from __future__ import annotations

import json
from typing import Final

from app.errors import RegionError
from app.sky.areas import PolygonArea, prepare
from app.sky.boundaries import sample_boundary
from app.sky.shapes import Circle, Polygon, Region
from app.sky.stcs import parse_region
from app.sky.vectors import cross, dot

_DECIMALS: Final = 6
_CIRCLE_TOLERANCE: Final = 0.005
"""How far the polygon of a circle may leave it, as a share of its radius."""

Ring = list[tuple[float, float]]


def outline_json(s_region: str | None) -> str:
    """A GeoJSON Polygon of ``s_region`` (right ascension, declination, deg); "" where there is none
    that can be drawn. Edges are great circles; the ring is clockwise as d3-geo wants it, seen on a
    map with east on the right: it holds what lies within, not the rest of the sky."""
    try:
        region = parse_region(s_region or "")
    except RegionError:
        return ""
    polygon = {"type": "Polygon", "coordinates": [_ring(region)]}
    return json.dumps(polygon, separators=(",", ":"))


def _ring(region: Region) -> Ring:
    corners = list(region.vertices) if isinstance(region, Polygon) else _corners(region)
    if _is_counterclockwise(Polygon(tuple(corners))):
        corners.reverse()
    corners.append(corners[0])
    return [(round(lon, _DECIMALS), round(lat, _DECIMALS)) for lon, lat in corners]


def _corners(region: Region) -> Ring:
    """Along the sides, each end once."""
    tolerance_deg = _CIRCLE_TOLERANCE * (region.radius_deg if isinstance(region, Circle) else 1.0)
    sides = sample_boundary(region, tolerance_deg)
    return [
        (lon, lat)
        for longitudes, latitudes in sides
        for lon, lat in zip(longitudes[:-1].tolist(), latitudes[:-1].tolist(), strict=True)
    ]


def _is_counterclockwise(polygon: Polygon) -> bool:
    """Seen from outside the sphere."""
    area = prepare(polygon)
    if not isinstance(area, PolygonArea):
        return False
    following = (*area.vectors[1:], area.vectors[0])
    turns = (cross(a, b) for a, b in zip(area.vectors, following, strict=True))
    return sum(dot(turn, area.centre) for turn in turns) > 0

"""Columns of regions as files carry them -> polygons as ``s_region`` keeps them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from app.errors import RegionError
from app.sky.areas import PolygonArea, is_simple
from app.sky.bulk_polygons import BulkPolygons, read_polygons
from app.sky.shapes import Circle, Polygon
from app.sky.stcs import format_region, parse_region
from app.sky.vectors import add, direction, scale, tangent_axes, unit_vector

PREFIX: Final = "POLYGON ICRS "

CIRCLE_SIDES: Final = 48
"""Sides of the polygon that a circle is stored as. It encloses the circle, by 0.2 % of the radius
at its corners, so no search misses it."""

_FRAMES: Final = (
    "icrs|unknownframe|barycenter|geocenter|heliocenter|lsr|topocenter|unknownrefpos|spherical2"
)
_KEYWORD: Final = rf"(?i)^polygon(\s+({_FRAMES}))*\s+"
_NUMBERS: Final = r"^[-+.0-9eE\s]+$"
_THREE: Final = r"^\S+\s+\S+\s+\S+$"


@dataclass(frozen=True, slots=True)
class Regions:
    """``texts``: ``POLYGON ICRS …`` or null. ``faults``: row -> why it is null though something
    stood there. ``polygons``: the shapes of the texts that are plain."""

    texts: pa.Array
    faults: Mapping[int, str]
    polygons: BulkPolygons


def read_regions(column: pa.Array, *, is_circle: bool = False) -> Regions:
    """STC-S (``POLYGON``, ``CIRCLE``, ``BOX``) or DALI (bare numbers) regions, ICRS degrees.

    Bare numbers are a polygon, or with ``is_circle`` or three of them a circle. A circle becomes a
    polygon of :data:`CIRCLE_SIDES` sides.
    """
    texts = pc.utf8_trim_whitespace(pc.replace_substring(column.cast(pa.string()), ",", " "))
    texts = pc.if_else(pc.equal(texts, ""), pa.scalar(None, pa.string()), texts)
    texts = _with_keywords(texts, is_circle=is_circle)
    plain_texts = pc.replace_substring_regex(texts, _KEYWORD, PREFIX)
    polygons = polygons_of(plain_texts)
    doubtful = np.flatnonzero(~polygons.plain & _array(plain_texts.is_valid()))
    if not doubtful.size:
        return Regions(plain_texts, {}, polygons)
    faults: dict[int, str] = {}
    values = plain_texts.to_pylist()
    for row in doubtful.tolist():
        try:
            values[row] = _by_itself(str(values[row]))
        except RegionError as fault:
            values[row], faults[row] = None, str(fault.args[1])
    mended = pa.array(values, pa.string())
    return Regions(mended, faults, polygons_of(mended))


def polygons_of(texts: pa.Array) -> BulkPolygons:
    """The shapes of ``POLYGON ICRS …`` texts; other texts are not plain."""
    starts = pc.starts_with(texts, PREFIX)
    known = pc.if_else(pc.fill_null(starts, False), texts, pa.scalar("", pa.string()))
    known = pa.concat_arrays([known.combine_chunks() if hasattr(known, "chunks") else known])
    _, offsets, content = known.buffers()
    ends = np.frombuffer(offsets, np.int32)[known.offset : known.offset + len(known) + 1]
    return read_polygons(content or b"", ends.astype(np.int64), len(PREFIX))


def _array(flags: pa.Array) -> Any:
    return flags.to_numpy(zero_copy_only=False)


def _with_keywords(texts: pa.Array, *, is_circle: bool) -> pa.Array:
    """Bare numbers with the keyword that they lack."""
    bare = pc.fill_null(pc.match_substring_regex(texts, _NUMBERS), False)
    if not pc.any(bare).as_py():
        return texts
    rounds = pc.fill_null(pc.match_substring_regex(texts, _THREE), False)
    keyword = pc.if_else(pc.or_(rounds, is_circle), "CIRCLE ICRS ", PREFIX)
    return pc.if_else(bare, pc.binary_join_element_wise(keyword, texts, ""), texts)


def _by_itself(text: str) -> str:
    """The polygon of one text. Raises RegionError."""
    region = parse_region(text)
    if isinstance(region, Circle):
        region = enclosing_polygon(region)
    if not isinstance(region, Polygon):
        raise RegionError(text, "expected POLYGON, CIRCLE or BOX")
    if not is_simple(PolygonArea(region)):
        raise RegionError(text, "the edges of the polygon cross each other")
    return format_region(region)


def enclosing_polygon(circle: Circle) -> Polygon:
    """The regular polygon around a circle. Raises RegionError for one that is no small cap."""
    if not 0.0 < circle.radius_deg < 80.0:
        raise RegionError(
            f"CIRCLE {circle.radius_deg:g}", "the radius must lie between 0 and 80 deg to be stored"
        )
    half = math.pi / CIRCLE_SIDES
    radius = math.atan(math.tan(math.radians(circle.radius_deg)) / math.cos(half))
    centre = unit_vector(circle.lon_deg, circle.lat_deg)
    east, north = tangent_axes(centre)
    vertices = []
    for k in range(CIRCLE_SIDES):
        turn = 2.0 * half * k
        aside = add(scale(east, math.cos(turn)), scale(north, math.sin(turn)))
        vertices.append(
            direction(add(scale(centre, math.cos(radius)), scale(aside, math.sin(radius))))
        )
    return Polygon(tuple(vertices))

"""Coverage of the sky in HEALPix cells: MOC 2.0 (space MOC, ICRS), of regions as tables keep them.

A map holds every cell that a region has a part in, so it is never smaller than the regions.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
from mocpy import MOC

from app.sky.bulk_regions import enclosing_polygon, polygons_of
from app.sky.shapes import Circle, Polygon
from app.sky.stcs import parse_region

__all__ = [
    "MAX_CELLS",
    "MAX_ORDER",
    "MOC",
    "WRITERS",
    "bounded",
    "cell_size_deg",
    "cover",
    "fitting_order",
    "map_of",
    "read_text",
    "union",
    "write_text",
]

MAX_ORDER: Final = 13
"""Cells of 26 arcsec."""
MAX_CELLS: Final = 500_000
"""A map of more cells is made coarser, so that none takes more than some megabytes."""
_MIN_ORDER: Final = 6
_CELLS_ACROSS: Final = 8
_CELL_DEG: Final = math.degrees(math.sqrt(math.pi / 3.0))

Corners = tuple[Any, Any]
"""Longitudes and latitudes (deg) of the vertices of a polygon."""


def cell_size_deg(order: int) -> float:
    """Square root of the area of a cell (deg)."""
    return _CELL_DEG / 2.0**order


def fitting_order(texts: Sequence[str]) -> int:
    """The order at which a typical one of the regions is 8 to 16 cells across."""
    polygons = polygons_of(pa.array(texts, pa.string()))
    if not polygons.plain.any():
        return _MIN_ORDER
    cosine = float(np.median(polygons.cosines[polygons.plain]))
    across_deg = 2.0 * math.degrees(math.acos(min(cosine, 1.0)))
    order = math.ceil(math.log2(_CELLS_ACROSS * _CELL_DEG / max(across_deg, 1e-6)))
    return min(max(order, _MIN_ORDER), MAX_ORDER)


def cover(texts: Sequence[str], order: int) -> MOC:
    """Every cell of an order that one of the regions (``POLYGON ICRS …``) has a part in. Raises
    RegionError for a text that is no region."""
    by_size: dict[int, list[Corners]] = {}
    for lon, lat in _corners(texts):
        by_size.setdefault(len(lon), []).append((lon, lat))
    found = [
        moc
        for alike in by_size.values()
        for moc in MOC.from_polygons(
            np.array(alike).reshape(2 * len(alike), -1), max_depth=order, n_threads=1
        )
    ]
    return union(found, order)


def _corners(texts: Sequence[str]) -> Iterable[Corners]:
    polygons = polygons_of(pa.array(texts, pa.string()))
    vectors = polygons.vectors.reshape(-1, 3)
    lons = np.degrees(np.arctan2(vectors[:, 1], vectors[:, 0])) % 360.0
    lats = np.degrees(np.arctan2(vectors[:, 2], np.hypot(vectors[:, 0], vectors[:, 1])))
    lons[lons == 360.0] = 0.0
    for row, is_plain in enumerate(polygons.plain.tolist()):
        if is_plain:
            own = slice(polygons.starts[row], polygons.starts[row + 1])
            yield lons[own], lats[own]
        else:
            yield _corners_of(texts[row])


def _corners_of(text: str) -> Corners:
    region = parse_region(text)
    polygon = enclosing_polygon(region) if isinstance(region, Circle) else region
    assert isinstance(polygon, Polygon)  # no other region is kept
    lon, lat = np.array(polygon.vertices).T
    return lon % 360.0, lat


def map_of(numbers: Sequence[int], order: int) -> MOC:
    """The map of cells of an order, by their nested numbers."""
    depths = np.full(len(numbers), order, np.uint8)
    return MOC.from_healpix_cells(np.array(numbers, np.uint64), depths, max_depth=order)


def union(maps: Sequence[MOC], order: int) -> MOC:
    """The cells of all maps; without any, an empty one of this order."""
    if not maps:
        return MOC.new_empty(order)
    return maps[0].union(*maps[1:]) if len(maps) > 1 else maps[0]


def bounded(moc: MOC, *, order: int = MAX_ORDER, cells: int = MAX_CELLS) -> MOC:
    """A map of cells of this order at the finest, and of so many; where it must be, coarser."""
    if moc.max_order > order:
        moc = moc.degrade_to_order(order)
    while len(moc.uniq_hpx) > cells and moc.max_order > 0:
        moc = moc.degrade_to_order(moc.max_order - 1)
    return moc


def write_text(moc: MOC) -> str:
    """MOC 2.0, section 4.2.3: ``6/13 15-17 7/``; the order is told even without cells."""
    return str(moc.to_string(format="ascii"))


def read_text(text: str) -> MOC:
    """What :func:`write_text` wrote."""
    return MOC.from_string(text)


def _fits(moc: MOC) -> bytes:
    """A table of NUNIQ cells, which clients of MOC 1 read as well as those of MOC 2."""
    whole = io.BytesIO()
    moc.serialize(format="fits", v1_compatible=True).writeto(whole)
    return whole.getvalue()


def _json(moc: MOC) -> bytes:
    return json.dumps(moc.serialize(format="json"), separators=(",", ":")).encode()


def _ascii(moc: MOC) -> bytes:
    return f"{write_text(moc)}\n".encode()


WRITERS: Final[Mapping[str, Callable[[MOC], bytes]]] = {
    "application/fits": _fits,
    "application/json": _json,
    "text/plain": _ascii,
}
"""Media type -> what writes a map so."""

"""What of the sky the images cover, for the sky of the pages."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from starlette.responses import Response

from app.services.coverage import CoverageService
from app.services.coverage_request import parse_coverage
from app.services.parameters import ParameterSet
from app.sky.healpix_outlines import outline_cells
from app.sky.moc import MOC, bounded, cell_size_deg

MAX_CELLS: Final = 3000
"""A browser turns so many without effort."""
_KEPT: Final = {"Cache-Control": "max-age=300"}
_DECIMALS: Final = 5


def sky_coverage(coverage: CoverageService) -> Callable[[], Response]:
    """The map of all images as GeoJSON (a MultiPolygon, rings as d3-geo wants them), and a sentence
    about it."""

    def cover() -> Response:
        found = coverage.write(parse_coverage(ParameterSet(())), "sky", _write)
        return Response(found.content, media_type="application/json", headers=_KEPT)

    return cover


def _write(whole: MOC) -> bytes:
    moc = bounded(whole, cells=MAX_CELLS)
    about = f"What images cover is blue, in cells of {_size(moc)}."
    return json.dumps({"about": about, "geometry": to_geojson(moc)}, ensure_ascii=False).encode()


def to_geojson(moc: MOC) -> dict[str, Any]:
    """Each cell of a map as a polygon."""
    polygons: list[Any] = []
    for order, cells in moc.serialize(format="json").items():
        lon, lat = outline_cells(int(order), np.array(cells, dtype=np.int64))
        rings = np.round(np.stack([lon, lat], axis=-1), _DECIMALS)
        polygons += [[[*ring, ring[0]]] for ring in rings.tolist()]
    return {"type": "MultiPolygon", "coordinates": polygons}


def _size(moc: MOC) -> str:
    """Of the smallest cells."""
    size_deg = cell_size_deg(moc.max_order)
    if size_deg >= 1.0:
        return f"{size_deg:.0f}°"
    return f"{60 * size_deg:.1f}′" if size_deg >= 1 / 60 else f"{3600 * size_deg:.0f}″"

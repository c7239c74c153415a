"""Tiles of datasets for the viewer of the image page: what there is of them, and each one."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from starlette.responses import JSONResponse, Response

from app.errors import ParameterError
from app.pages.asked import Asked, Asking
from app.pages.position import parse_position
from app.pages.preview_view import footprint_of, require_here
from app.pixels.grid import Grid
from app.pixels.preview import PNG_LEVEL, Brightness
from app.pixels.sky_nodes import find_nodes
from app.pixels.tiles import TILE_PX, Pyramid, TileStyle, find_display, paint_tile
from app.recipes.picture import parse_picture
from app.recipes.recipe import ImageRef
from app.schema.access import Identity
from app.schema.rows import DatasetRow
from app.services.access import GATE
from app.services.builds_rows import is_difference
from app.services.parameters import ParameterSet
from app.sky.boundaries import sample_boundary
from app.sky.shapes import Point
from app.stores.file_cache import FileCache
from app.stores.images import ImageStore
from app.stores.tables.datasets import DatasetStore

TILE_VERSION: Final = 1
"""Raised whenever the same image would give other tiles."""
STYLE_NAMES: Final = ("STRETCH", "SCALE", "LIMITS", "COLORMAP")
_COLOUR_PNG_LEVEL: Final = 1
"""More would take twice the time for a twentieth of the bytes."""
_OUTLINE_TOLERANCE_PX: Final = 0.5
_KEPT: Final = {"Cache-Control": "max-age=3600"}


@dataclass(frozen=True, slots=True, kw_only=True)
class TileRequest:
    """One tile: its level (0 is the coarsest), row and column, counted from the upper left."""

    level: int
    row: int
    column: int
    style: TileStyle


def parse_style(parameters: ParameterSet) -> TileStyle:
    """Read STRETCH, SCALE, LIMITS, COLORMAP and MASK. Raises ParameterError."""
    named = [(name, value) for name, value in parameters if name.upper() in STYLE_NAMES]
    picture = parse_picture(named, "png")
    return TileStyle(
        stretch=picture.stretch,
        scale=picture.scale,
        limits=picture.limits,
        colours=picture.colours,
        mask_overlay=parameters.flag("MASK"),
    )


def parse_tile(parameters: ParameterSet) -> TileRequest:
    """Read LEVEL, ROW and COLUMN, and the style. Raises ParameterError."""
    places = {}
    for name in ("LEVEL", "ROW", "COLUMN"):
        parameters.require(name, "a whole number, counted from 0")
        places[name.lower()] = parameters.integer(name, minimum=0) or 0
    return TileRequest(**places, style=parse_style(parameters))


def parse_target(parameters: ParameterSet) -> Point | None:
    """POS, a position to mark. Raises ParameterError."""
    position = parameters.single("POS")
    return parse_position(position) if position else None


class TileService:
    """Draws tiles. Raises ImageFormatError when a file cannot be read, NotFoundError when an image
    lies elsewhere or is not built yet."""

    def __init__(self, *, images: ImageStore, cache: FileCache, limits: FileCache) -> None:
        self._images = images
        self._cache = cache
        self._limits = limits

    def get(self, row: DatasetRow, request: TileRequest) -> bytes:
        """PNG bytes. Raises ParameterError for a tile that the image does not have."""
        require_here(row)
        pyramid = Pyramid(Grid.from_text(ImageRef.from_text(row.image_ref).grid).shape)
        _require_tile(pyramid, request)
        key = f"{TILE_VERSION}\n{row.dataset_id}\n{row.file_checksum}\n{request}"
        return self._cache.get(key, lambda: self._render(row, pyramid, request))

    def _render(self, row: DatasetRow, pyramid: Pyramid, request: TileRequest) -> bytes:
        window = pyramid.window(request.level, request.row, request.column)
        with self._images.open_light(ImageRef.from_text(row.image_ref)) as read:
            display = self._display(row, request.style, read, pyramid.shape)
            step = pyramid.step(request.level)
            return _png(paint_tile(read, window, step, display, request.style))

    def _display(
        self, row: DatasetRow, style: TileStyle, read: Callable[..., Any], shape: tuple[int, int]
    ) -> Brightness:
        """What all tiles share, found once and kept."""

        def find() -> bytes:
            found = find_display(read, shape, style, is_difference=is_difference(row))
            return json.dumps([found.limits, found.softening]).encode()

        asked = f"{style.limits} {style.scale}"
        key = f"{TILE_VERSION}\n{row.dataset_id}\n{row.file_checksum}\n{asked}"
        limits, softening = json.loads(self._limits.get(key, find))
        return Brightness(tuple(limits), softening)

    @staticmethod
    def describe(row: DatasetRow, target: Point | None) -> dict[str, Any]:
        """What a viewer needs to know: size, levels, where the pixels lie on the sky, and where
        the footprint and a position lie on the pixels (x, y from the centre of the first one)."""
        require_here(row)
        grid = Grid.from_text(ImageRef.from_text(row.image_ref).grid)
        nodes, pyramid = find_nodes(grid), Pyramid(grid.shape)
        return {
            "width": grid.shape[1],
            "height": grid.shape[0],
            "tile_px": TILE_PX,
            "levels": pyramid.levels,
            "pixel_scale_arcsec": grid.pixel_scale_arcsec,
            "sky": {
                "x": _numbers(nodes.x, 3),
                "y": _numbers(nodes.y, 3),
                "lon": [_numbers(each, 9) for each in nodes.lon],
                "lat": [_numbers(each, 9) for each in nodes.lat],
                "error_px": round(nodes.error_px, 5),
            },
            "footprint": _outline(row, grid),
            "target": None if target is None else _pixel(grid, target),
        }


def _require_tile(pyramid: Pyramid, request: TileRequest) -> None:
    if request.level >= pyramid.levels:
        reason = f"this image has the levels 0 to {pyramid.levels - 1}, got {request.level}"
        raise ParameterError("LEVEL", reason)
    counts = pyramid.tiles(request.level)
    for name, place, count in zip(
        ("ROW", "COLUMN"), (request.row, request.column), counts, strict=True
    ):
        if place >= count:
            reason = f"level {request.level} of this image has 0 to {count - 1}, got {place}"
            raise ParameterError(name, reason)


def _png(rgb: NDArray[np.uint8]) -> bytes:
    """With one channel where all is grey: half as long."""
    is_grey = np.array_equal(rgb[..., 0], rgb[..., 1]) and np.array_equal(rgb[..., 0], rgb[..., 2])
    out = io.BytesIO()
    picture = Image.fromarray(np.ascontiguousarray(rgb[..., 0] if is_grey else rgb))
    picture.save(out, format="PNG", compress_level=PNG_LEVEL if is_grey else _COLOUR_PNG_LEVEL)
    return out.getvalue()


def _outline(row: DatasetRow, grid: Grid) -> list[list[float]]:
    footprint = footprint_of(row)
    if footprint is None:
        return []
    tolerance_deg = _OUTLINE_TOLERANCE_PX * grid.pixel_scale_arcsec / 3600
    sides = sample_boundary(footprint, tolerance_deg)
    lon, lat = (np.concatenate([side[i] for side in sides]) for i in (0, 1))
    x, y = grid.sky_to_pixel(lon, lat)
    known = np.isfinite(x + y)
    return [
        [round(float(a), 2), round(float(b), 2)] for a, b in zip(x[known], y[known], strict=True)
    ]


def _pixel(grid: Grid, target: Point) -> list[float] | None:
    x, y = (float(each) for each in grid.sky_to_pixel(target.lon_deg, target.lat_deg))
    return [round(x, 3), round(y, 3)] if np.isfinite(x + y) else None


def _numbers(values: NDArray[np.float64], decimals: int) -> list[float | None]:
    return [round(each, decimals) if np.isfinite(each) else None for each in values.tolist()]


def tile_picture(datasets: DatasetStore, tiles: TileService) -> Callable[..., Response]:
    """A tile (ID, LEVEL, ROW, COLUMN and the style) as PNG."""

    def tile(asked: Asked, identity: Asking) -> Response:
        content = tiles.get(_row(datasets, asked, identity), parse_tile(asked))
        return Response(content, media_type="image/png", headers=_KEPT)

    return tile


def tile_layout(datasets: DatasetStore, tiles: TileService) -> Callable[..., Response]:
    """What there is of an image (ID), with a position (POS) marked, as JSON."""

    def layout(asked: Asked, identity: Asking) -> Response:
        row = _row(datasets, asked, identity)
        return JSONResponse(tiles.describe(row, parse_target(asked)), headers=_KEPT)

    return layout


def _row(datasets: DatasetStore, asked: ParameterSet, identity: Identity) -> DatasetRow:
    row = datasets.get(asked.require("ID", "the obs_publisher_did of an image"))
    GATE.require(identity, row)
    return row

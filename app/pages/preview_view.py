"""Previews of datasets: read the pixels, draw them, keep the picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from app.errors import LimitError, NotFoundError, ParameterError
from app.pages.position import parse_position
from app.pixels.composite import Channel, CoarseGrid, on_squares, paint_composite
from app.pixels.grid import Grid
from app.pixels.preview import (
    NO_DATA_COLOUR,
    PreviewOptions,
    finish_picture,
    picture_step,
    render_preview,
)
from app.recipes.photometry import NANOJANSKY_ZERO_POINT_MAG, flux_factor
from app.recipes.recipe import ImageRef
from app.recipes.values import positive
from app.schema.rows import DatasetRow
from app.services.builds_rows import is_difference
from app.services.parameters import ParameterSet
from app.sky.shapes import Point, Polygon
from app.sky.stcs import parse_region
from app.stores.file_cache import FileCache
from app.stores.images import ImageStore

PREVIEW_VERSION: Final = 3
"""Raised whenever the same image would give another picture."""
DEFAULT_SIDE_PX: Final = 900
MAX_SIDE_PX: Final = 2000
CHANNELS: Final = 3
_SMALLEST_ANNOTATED_PX: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviewRequest:
    """What a preview is to show."""

    side_px: int = DEFAULT_SIDE_PX
    target: Point | None = None
    mask_overlay: bool = False


def parse_preview(parameters: ParameterSet) -> PreviewRequest:
    """Read SIZE (px), POS and MASK. Raises ParameterError, LimitError."""
    position = parameters.single("POS")
    return PreviewRequest(
        side_px=_side_px(parameters),
        target=parse_position(position) if position else None,
        mask_overlay=parameters.single("MASK") in {"1", "true"},
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class CompositeRequest:
    """What a picture of three images is to show; ``softening`` is Lupton's Q."""

    side_px: int = DEFAULT_SIDE_PX
    softening: float | None = None


def parse_composite(parameters: ParameterSet) -> tuple[tuple[str, ...], CompositeRequest]:
    """Read ID (three), SIZE (px) and Q. Raises ParameterError, LimitError."""
    names = tuple(parameters.all("ID"))
    if len(names) != CHANNELS:
        raise ParameterError("ID", f"a composite is of three images, got {len(names)}")
    given = parameters.single("Q")
    softening = None if given is None else positive("Q", given)
    return names, CompositeRequest(side_px=_side_px(parameters), softening=softening)


class PreviewService:
    """Draws previews. Raises ImageFormatError when a file cannot be read."""

    def __init__(self, *, images: ImageStore, cache: FileCache) -> None:
        self._images = images
        self._cache = cache

    def get(self, row: DatasetRow, request: PreviewRequest) -> bytes:
        """PNG bytes of a dataset's preview. Raises NotFoundError when its image lies elsewhere."""
        require_here(row)
        key = f"{PREVIEW_VERSION}\n{row.dataset_id}\n{row.file_checksum}\n{request}"
        return self._cache.get(key, lambda: self._render(row, request))

    def get_composite(self, rows: Sequence[DatasetRow], request: CompositeRequest) -> bytes:
        """PNG of three images on the pixels of the one of the longest wavelength, which is red;
        the shortest is blue. Raises NotFoundError when one lies elsewhere."""
        for row in rows:
            require_here(row)
        ordered = sorted(rows, key=lambda row: (-_wavelength_m(row), row.dataset_id))
        names = [f"{row.dataset_id}\n{row.file_checksum}" for row in ordered]
        key = "\n".join([f"composite {PREVIEW_VERSION}", *names, str(request)])
        return self._cache.get(key, lambda: self._compose(ordered, request))

    def _compose(self, rows: Sequence[DatasetRow], request: CompositeRequest) -> bytes:
        refs = [ImageRef.from_text(row.image_ref) for row in rows]
        grid = Grid.from_text(refs[0].grid)
        step = picture_step(grid.shape, request.side_px)
        squares = CoarseGrid(grid, step)
        channels = [on_squares(self._channel(ref), squares) for ref in refs]
        rgb = paint_composite(channels, no_data=NO_DATA_COLOUR, softening=request.softening)
        annotated = request.side_px >= _SMALLEST_ANNOTATED_PX
        options = PreviewOptions(side_px=request.side_px, compass=annotated)
        return finish_picture(rgb, step, grid, options)

    def _channel(self, ref: ImageRef) -> Channel:
        """Flux in nJy where the zero point is known."""
        flux, _ = self._images.read_light(ref)
        flux *= np.float32(flux_factor(ref, NANOJANSKY_ZERO_POINT_MAG))
        return Channel(flux, Grid.from_text(ref.grid))

    def _render(self, row: DatasetRow, request: PreviewRequest) -> bytes:
        ref = ImageRef.from_text(row.image_ref)
        annotated = request.side_px >= _SMALLEST_ANNOTATED_PX
        options = PreviewOptions(
            side_px=request.side_px,
            stretch="symmetric" if is_difference(row) else "asinh",
            target=request.target,
            footprint=footprint_of(row) if annotated else None,
            mask_overlay=request.mask_overlay,
            compass=annotated,
        )
        with self._images.open_light(ref) as read:
            return render_preview(read, Grid.from_text(ref.grid), options)


def _side_px(parameters: ParameterSet) -> int:
    side_px = parameters.integer("SIZE", minimum=32)
    if side_px is not None and side_px > MAX_SIDE_PX:
        raise LimitError("pixels along a preview (SIZE)", side_px, MAX_SIDE_PX)
    return side_px or DEFAULT_SIDE_PX


def require_here(row: DatasetRow) -> None:
    """Raises NotFoundError for an image without pixels here."""
    if row.is_external:
        raise NotFoundError("A preview of an image of another service")
    if row.is_buildable:
        raise NotFoundError("A preview of an image that is not built yet")


def _wavelength_m(row: DatasetRow) -> float:
    return float(row.columns.get("em_min") or 0.0)


def preview_size(row: DatasetRow) -> tuple[int, int]:
    """(width, height) in pixels of the default preview."""
    ny, nx = Grid.from_text(ImageRef.from_text(row.image_ref).grid).shape
    zoom = DEFAULT_SIDE_PX / max(nx, ny)
    return max(1, round(nx * zoom)), max(1, round(ny * zoom))


def footprint_of(row: DatasetRow) -> Polygon | None:
    """``s_region`` where it is a polygon."""
    text = row.columns.get("s_region")
    region = parse_region(str(text)) if text else None
    return region if isinstance(region, Polygon) else None

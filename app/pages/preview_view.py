"""Previews of datasets: read the pixels, draw them, keep the picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from app.errors import LimitError, NotFoundError
from app.pages.position import parse_position
from app.pixels.grid import Grid
from app.pixels.preview import PreviewOptions, render_preview
from app.recipes.recipe import ImageRef
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
_SMALLEST_ANNOTATED_PX: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviewRequest:
    """What a preview is to show."""

    side_px: int = DEFAULT_SIDE_PX
    target: Point | None = None
    mask_overlay: bool = False


def parse_preview(parameters: ParameterSet) -> PreviewRequest:
    """Read SIZE (px), POS and MASK. Raises ParameterError, LimitError."""
    side_px = parameters.integer("SIZE", minimum=32)
    if side_px is not None and side_px > MAX_SIDE_PX:
        raise LimitError("pixels along a preview (SIZE)", side_px, MAX_SIDE_PX)
    position = parameters.single("POS")
    return PreviewRequest(
        side_px=side_px or DEFAULT_SIDE_PX,
        target=parse_position(position) if position else None,
        mask_overlay=parameters.single("MASK") in {"1", "true"},
    )


class PreviewService:
    """Draws previews. Raises ImageFormatError when a file cannot be read."""

    def __init__(self, *, images: ImageStore, cache: FileCache) -> None:
        self._images = images
        self._cache = cache

    def get(self, row: DatasetRow, request: PreviewRequest) -> bytes:
        """PNG bytes of a dataset's preview. Raises NotFoundError when its image lies elsewhere."""
        if row.is_external:
            raise NotFoundError("A preview of an image of another service")
        if row.is_buildable:
            raise NotFoundError("A preview of an image that is not built yet")
        key = f"{PREVIEW_VERSION}\n{row.dataset_id}\n{row.file_checksum}\n{request}"
        return self._cache.get(key, lambda: self._render(row, request))

    def _render(self, row: DatasetRow, request: PreviewRequest) -> bytes:
        ref = ImageRef.from_text(row.image_ref)
        annotated = request.side_px >= _SMALLEST_ANNOTATED_PX
        options = PreviewOptions(
            side_px=request.side_px,
            stretch="symmetric" if is_difference(row) else "asinh",
            target=request.target,
            footprint=_footprint(row) if annotated else None,
            mask_overlay=request.mask_overlay,
            compass=annotated,
        )
        flux, mask = self._images.read_light(ref)
        return render_preview(flux, mask, Grid.from_text(ref.grid), options)


def preview_size(row: DatasetRow) -> tuple[int, int]:
    """(width, height) in pixels of the default preview."""
    ny, nx = Grid.from_text(ImageRef.from_text(row.image_ref).grid).shape
    zoom = DEFAULT_SIDE_PX / max(nx, ny)
    return max(1, round(nx * zoom)), max(1, round(ny * zoom))


def _footprint(row: DatasetRow) -> Polygon | None:
    text = row.columns.get("s_region")
    region = parse_region(str(text)) if text else None
    return region if isinstance(region, Polygon) else None

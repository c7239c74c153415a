"""The noise of an image's sky, and how much of it is usable, from a few of its rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from app.errors import ImageFormatError
from app.pixels.image import UNUSABLE
from app.recipes.recipe import ImageRef, PlaneRef
from app.services.ingest.open_file import Plane
from app.stores.fits_files import Bounds, format_faults, read_plane
from app.stores.images import find_plane, find_saturated, read_mask, read_variance

BAND_ROWS: Final = 4
"""Few: a compressed file is unpacked row by row, in 0.1 ms each."""
BANDS: Final = 3


@dataclass(frozen=True, slots=True)
class PixelSample:
    """``noise``: median standard deviation of the pixels, in the flux unit of the image; None when
    no pixel has a variance. ``usable_fraction``: share of the pixels that take part in stacks.
    Both are None when rows cannot be read."""

    noise: float | None
    usable_fraction: float | None


def sample_pixels(ref: ImageRef, shape: tuple[int, int], planes: Sequence[Plane]) -> PixelSample:
    """What three bands of rows tell: their variance, weight or noise plane, else the scatter of
    their pixels; and the mask of one row of each.

    ``planes`` are those of ``ref``, whose pixels are ``shape`` (ny, nx), in open files.
    """
    ny, nx = shape
    middles = (ny * (band + 1) // (BANDS + 1) for band in range(BANDS))
    starts = sorted({min(max(0, y - BAND_ROWS // 2), max(0, ny - BAND_ROWS)) for y in middles})
    try:
        samples = [
            _variances(ref, _OpenPlanes(planes, (y, min(ny, y + BAND_ROWS), 0, nx))) for y in starts
        ]
        shares = [_usable_share(ref, _OpenPlanes(planes, (y, y + 1, 0, nx))) for y in starts]
    except ImageFormatError:
        return PixelSample(None, None)
    variances = np.concatenate(samples)
    noise = math.sqrt(float(np.median(variances))) if variances.size else None
    return PixelSample(noise, round(float(np.mean(shares)), 4))


def _usable_share(ref: ImageRef, rows: _OpenPlanes) -> float:
    image = find_plane(ref, "image")
    if image is None:
        return 0.0
    stored = rows.read(image)
    flux = (stored * ref.flux_scale).astype(np.float32)
    mask = read_mask(ref, rows, flux, find_saturated(ref, stored))
    variance = read_variance(ref, rows, flux, mask)
    return float(np.mean((mask & UNUSABLE == 0) & np.isfinite(variance) & (variance > 0)))


def _variances(ref: ImageRef, rows: _OpenPlanes) -> NDArray[np.float32]:
    """The variances of the pixels that have one. The mask is not asked: a median bears with what
    is bad."""
    image = find_plane(ref, "image")
    if image is None:
        return np.empty(0, np.float32)
    told = any(plane.role in {"variance", "weight", "stddev"} for plane in ref.planes)
    stored = np.zeros(rows.shape) if told else rows.read(image)
    flux = (stored * ref.flux_scale).astype(np.float32)
    mask = np.where(np.isfinite(flux), 0, 1).astype(np.int32)
    variance = read_variance(ref, rows, flux, mask)
    kept: NDArray[np.float32] = variance[(mask == 0) & np.isfinite(variance) & (variance > 0)]
    return kept


class _OpenPlanes:
    """Rows of planes whose files are open."""

    def __init__(self, planes: Sequence[Plane], bounds: Bounds) -> None:
        self._files = {plane.ref: plane.hdulist for plane in planes}
        self._bounds = bounds
        self.shape = (bounds[1] - bounds[0], bounds[3] - bounds[2])

    def read(self, plane: PlaneRef) -> NDArray[Any]:
        """Stored values (rows, nx)."""
        with format_faults(plane.path):
            return read_plane(self._files[plane], plane.hdu, plane.planes, self._bounds)

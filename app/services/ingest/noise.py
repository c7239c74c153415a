"""The noise of an image's sky, from a few of its rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from app.errors import ImageFormatError
from app.recipes.recipe import ImageRef, PlaneRef
from app.services.ingest.open_file import Plane
from app.stores.fits_files import Bounds, format_faults, read_plane
from app.stores.images import find_plane, read_variance

BAND_ROWS: Final = 4
"""Few: a compressed file is unpacked row by row, in 0.1 ms each."""
BANDS: Final = 3


def measure_noise(ref: ImageRef, shape: tuple[int, int], planes: Sequence[Plane]) -> float | None:
    """Median standard deviation of the pixels in three bands of rows, in the flux unit of
    ``ref``: from its variance, weight or noise plane, else from the scatter of its pixels.

    ``planes`` are those of ``ref``, whose pixels are ``shape`` (ny, nx), in open files. None when
    no pixel has a variance, or rows cannot be read.
    """
    ny, nx = shape
    middles = (ny * (band + 1) // (BANDS + 1) for band in range(BANDS))
    starts = {min(max(0, y - BAND_ROWS // 2), max(0, ny - BAND_ROWS)) for y in middles}
    try:
        samples = [
            _variances(ref, _OpenPlanes(planes, (y, min(ny, y + BAND_ROWS), 0, nx)))
            for y in sorted(starts)
        ]
    except ImageFormatError:
        return None
    variances = np.concatenate(samples)
    return math.sqrt(float(np.median(variances))) if variances.size else None


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

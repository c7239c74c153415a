"""Which places of an image pair may tell the matching kernel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter, minimum_filter

from app.pixels.background import FIT_REJECT, estimate_background
from app.pixels.detect import significance
from app.pixels.image import MaskedImage
from app.pixels.peaks import Peaks, find_peaks

LEAST_SIGNIFICANCE: Final = 20.0
SEEN_IN_BOTH: Final = 5.0
MOST_STAMPS: Final = 500
CORE_PX: Final = 3
"""Pixels to each side of a peak that must all be usable."""


@dataclass(frozen=True, slots=True)
class Places:
    """Stamp middles (pixels, int64), brightest first, and the half width of the stamps."""

    x: NDArray[np.int64]
    y: NDArray[np.int64]
    half_px: int

    def __len__(self) -> int:
        return len(self.x)


def find_sources(image: MaskedImage, fwhm_px: float, threshold: float) -> Peaks:
    """Point-like or extended maxima above ``threshold`` times the noise, brightest first.

    Significance is that of a Gaussian PSF on the background-subtracted image.
    """
    return peaks_above(source_map(image, fwhm_px), fwhm_px, threshold)


def source_map(
    image: MaskedImage, fwhm_px: float, level: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """Significance of point sources above the background ``level`` (found here if not given)."""
    level = estimate_background(image).level if level is None else level
    return significance(MaskedImage(image.flux - level, image.variance, image.mask), fwhm_px)


def peaks_above(values: NDArray[np.float32], fwhm_px: float, threshold: float) -> Peaks:
    """Maxima of a :func:`source_map`."""
    return find_peaks(values, threshold, max(2, round(fwhm_px)))


def show_sources(image: MaskedImage, fwhm_px: float) -> NDArray[np.bool_]:
    """Pixels where a point source would be significant at SEEN_IN_BOTH, and their neighbours."""
    values = np.nan_to_num(source_map(image, fwhm_px), nan=0.0)
    shown: NDArray[np.bool_] = maximum_filter(values, size=3) > SEEN_IN_BOTH
    return shown


def find_stamps(
    image: MaskedImage,
    usable: NDArray[np.bool_],
    seen: NDArray[np.bool_],
    fwhm_px: float,
    half_px: int,
) -> Places:
    """Stamps around the sources of ``image`` whose cores are wholly ``usable``.

    A source counts only where ``seen``, in the other image too: what only one of them shows has
    changed.
    Static neighbours do no harm (the model holds for any unchanging scene), so sources need not be
    isolated; stamps closer than 3/4 of their width share too many pixels and the fainter is left.
    """
    peaks = find_sources(image, fwhm_px, LEAST_SIGNIFICANCE)
    ny, nx = image.shape
    taken_x: list[int] = []
    taken_y: list[int] = []
    near = int(1.5 * half_px)
    for x, y in zip(peaks.x.tolist(), peaks.y.tolist(), strict=True):
        if len(taken_x) == MOST_STAMPS:
            break
        core = np.s_[max(0, y - CORE_PX) : y + CORE_PX + 1, max(0, x - CORE_PX) : x + CORE_PX + 1]
        if min(x, y, nx - 1 - x, ny - 1 - y) < CORE_PX:
            continue
        if not (seen[y, x] and usable[core].all()):
            continue
        close = np.maximum(np.abs(np.array(taken_x) - x), np.abs(np.array(taken_y) - y)) < near
        if not close.any():
            taken_x.append(x)
            taken_y.append(y)
    return Places(np.array(taken_x, dtype=np.int64), np.array(taken_y, dtype=np.int64), half_px)


def tile_places(image: MaskedImage, usable: NDArray[np.bool_], half_px: int) -> Places:
    """Stamps that tile the image, for fields with too few sources to place stamps around.

    Kept are those in which something shows: a usable pixel 5 sigma above the sky.
    """
    background = estimate_background(image)
    shows = usable & (image.flux - background.level > 5.0 * background.noise)
    ny, nx = image.shape
    size = 2 * half_px + 1
    middles_y, middles_x = np.meshgrid(
        np.arange(half_px, ny + half_px, size),
        np.arange(half_px, nx + half_px, size),
        indexing="ij",
    )
    kept = [
        bool(shows[max(0, y - half_px) : y + half_px + 1, x - half_px : x + half_px + 1].any())
        for y, x in zip(middles_y.ravel().tolist(), middles_x.ravel().tolist(), strict=True)
    ]
    chosen = np.array(kept, dtype=np.bool_)
    return Places(
        np.minimum(middles_x.ravel()[chosen], nx - 1),
        np.minimum(middles_y.ravel()[chosen], ny - 1),
        half_px,
    )


def usable_for_fit(science: MaskedImage, template: MaskedImage, reach_px: int) -> NDArray[np.bool_]:
    """Pixels usable in ``science`` whose kernel footprint in ``template`` is wholly usable."""
    clear = minimum_filter(
        template.usable(FIT_REJECT).astype(np.uint8), size=2 * reach_px + 1, mode="constant", cval=0
    )
    usable: NDArray[np.bool_] = science.usable(FIT_REJECT) & (clear > 0)
    return usable

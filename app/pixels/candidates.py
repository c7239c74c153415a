"""Which places of an image pair may tell the matching kernel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from app.errors import CoverageError
from app.pixels.background import FIT_REJECT, estimate_background
from app.pixels.bands import over_rows, side_by_side
from app.pixels.binning import binned
from app.pixels.image import MaskedImage, mark_usable
from app.pixels.kernels import gaussian_profile
from app.pixels.peaks import Peaks, find_peaks
from app.pixels.separable import SeparableKernel, convolve_rows
from app.pixels.statistics import robust_sigma, thinned

Plane = NDArray[np.float32]

LEAST_SIGNIFICANCE: Final = 20.0
SEEN_IN_BOTH: Final = 5.0
MOST_STAMPS: Final = 300
"""Fainter ones tell next to nothing: with 250 and with 500 scores of pairs are the same."""
MOST_TILES: Final = 2000
SAMPLED_PX: Final = 2.5
"""A PSF of this FWHM is still found with hardly any loss of significance."""
SCATTER_SAMPLE: Final = 50_000
CORE_PX: Final = 3
"""Pixels to each side of a peak that must all be usable."""
OUTSIDE: Final = "outside the image"
MASKED: Final = "masked or without data"
NOT_IN_BOTH: Final = "does not show in both images"
TOO_CLOSE: Final = "too close to a brighter one"
ENOUGH: Final = f"{MOST_STAMPS} brighter ones are taken"


@dataclass(frozen=True, slots=True)
class Places:
    """Stamp middles (pixels, int64), brightest first, and the half width of the stamps."""

    x: NDArray[np.int64]
    y: NDArray[np.int64]
    half_px: int

    def __len__(self) -> int:
        return len(self.x)


@dataclass(frozen=True, slots=True)
class Unfit:
    """A given place (pixels) that tells nothing of the kernel, and why."""

    x: float
    y: float
    reason: str


def find_sources(image: MaskedImage, fwhm_px: float, threshold: float) -> Peaks:
    """Point-like or extended maxima above ``threshold`` times the noise, brightest first.

    Significance is that of a Gaussian PSF on the background-subtracted image.
    """
    return peaks_above(source_map(image, fwhm_px), fwhm_px, threshold)


def source_map(
    image: MaskedImage, fwhm_px: float, level: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """Significance of point sources above the background ``level`` (found here if not given).

    The flux under a Gaussian in units of the noise that variances tell, then of the map's robust
    scatter; 0 at pixels that are not usable.
    """
    level = estimate_background(image).level if level is None else level
    profile = gaussian_profile(fwhm_px)[None].astype(np.float32)
    kernel, squared = SeparableKernel(profile, profile), SeparableKernel(profile**2, profile**2)
    values = np.empty(image.shape, dtype=np.float32)
    half = kernel.half_px

    def rows(start: int, stop: int) -> None:
        above, noise = np.zeros((2, stop - start + 2 * half, image.shape[1]), dtype=np.float32)
        planes = image.flux, image.variance, image.mask
        _lay_out(*planes, level, start - half, FIT_REJECT, above, noise)
        blurred = convolve_rows(above, kernel), convolve_rows(noise, squared)
        _divide(*blurred, noise[half : half + stop - start], values[start:stop])

    over_rows(rows, len(values))
    measured = thinned(values.ravel(), SCATTER_SAMPLE)
    scatter = robust_sigma(measured[measured != 0])
    if not scatter > 0:
        raise CoverageError("scatter of the significance map", scatter, "more than 0")
    values /= np.float32(scatter)
    return values


@njit(cache=True, nogil=True)
def _lay_out(
    flux: Plane,
    variance: Plane,
    mask: NDArray[np.int32],
    level: Plane,
    first: int,
    reject: int,
    above: Plane,
    noise: Plane,
) -> None:
    """Fill zeroed planes, from the row ``first`` on, where pixels are usable."""
    limit = np.float32(np.inf)
    for j in range(max(0, -first), min(len(above), len(flux) - first)):
        y = first + j
        for x in range(flux.shape[1]):
            spread = variance[y, x]
            told = (spread > 0) & (spread < limit) & (abs(flux[y, x]) < limit)
            told &= mask[y, x] & reject == 0
            above[j, x] = flux[y, x] - level[y, x] if told else np.float32(0.0)
            noise[j, x] = spread if told else np.float32(0.0)


@njit(cache=True, nogil=True)
def _divide(signal: Plane, noise: Plane, own_noise: Plane, values: Plane) -> None:
    """Signal to noise of usable pixels, which are those with noise of their own; 0 elsewhere."""
    for y in range(values.shape[0]):
        for x in range(values.shape[1]):
            seen = (own_noise[y, x] > 0) & (noise[y, x] > 0)
            values[y, x] = signal[y, x] / np.sqrt(noise[y, x]) if seen else np.float32(0.0)


def peaks_above(values: NDArray[np.float32], fwhm_px: float, threshold: float) -> Peaks:
    """Maxima of a :func:`source_map`."""
    return find_peaks(values, threshold, max(2, round(fwhm_px)))


def find_stamps(image: MaskedImage, other: MaskedImage, fwhm_px: float, half_px: int) -> Places:
    """Stamps around sources of ``image`` that ``other`` shows too, with usable cores in both.

    What only one of them shows has changed. Static neighbours do no harm (the model holds for any
    unchanging scene), so sources need not be isolated; stamps closer than 3/4 of their width share
    too many pixels and the fainter is left. Sources are looked for in pixels as coarse as
    ``fwhm_px`` allows.
    """
    step = max(1, int(fwhm_px / SAMPLED_PX))
    one, two = (binned(each, step, FIT_REJECT) for each in (image, other))
    x_all, y_all = _brightest(image.flux, _seen_in_both(one, two, fwhm_px / step), step)
    chosen = _Chosen(image, other, half_px)
    for x, y in zip(x_all.tolist(), y_all.tolist(), strict=True):
        chosen.take(x, y)
        if chosen.full:
            break
    return chosen.places()


def _seen_in_both(image: MaskedImage, other: MaskedImage, fwhm_px: float) -> Peaks:
    """Sources of ``image`` at which ``other`` shows something too."""
    maps = side_by_side(lambda: source_map(image, fwhm_px), lambda: source_map(other, fwhm_px))
    peaks, seen = peaks_above(maps[0], fwhm_px, LEAST_SIGNIFICANCE), np.pad(maps[1], 1)
    near_y, near_x = (each.ravel() for each in np.mgrid[:3, :3])
    around = seen[peaks.y[:, None] + near_y, peaks.x[:, None] + near_x]
    shown = around.max(axis=1) > SEEN_IN_BOTH
    return Peaks(peaks.x[shown], peaks.y[shown], peaks.value[shown])


def _brightest(
    flux: NDArray[np.float32], peaks: Peaks, step: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(x, y) of the brightest pixel in the square of ``step`` pixels that each peak is."""
    down, across = (each.ravel() for each in np.mgrid[:step, :step])
    y, x = peaks.y[:, None] * step + down, peaks.x[:, None] * step + across
    which = np.argmax(flux[y, x], axis=1)
    return peaks.x * step + across[which], peaks.y * step + down[which]


def given_stamps(
    image: MaskedImage,
    other: MaskedImage,
    fwhm_px: float,
    half_px: int,
    places: Sequence[tuple[float, float]],
) -> tuple[Places, tuple[Unfit, ...]]:
    """Stamps around given ``places`` (x, y), and those of them that are not fit.

    They have to show in both images, with usable cores; of two that are too close the fainter one
    is left.
    """
    maps, (ny, nx) = [source_map(each, fwhm_px) for each in (image, other)], image.shape
    chosen = _Chosen(image, other, half_px)
    unfit, within = [], []
    for x, y in places:
        if not (np.isfinite(x) and np.isfinite(y) and 0 <= round(x) < nx and 0 <= round(y) < ny):
            unfit.append(Unfit(x, y, OUTSIDE))
        else:
            heights = [_highest(each, round(x), round(y)) for each in maps]
            within.append((-heights[0], min(heights) > SEEN_IN_BOTH, x, y))
    for _, shows, x, y in sorted(within):
        reason = chosen.take(round(x), round(y)) if shows else NOT_IN_BOTH
        if reason is not None:
            unfit.append(Unfit(x, y, reason))
    return chosen.places(), tuple(unfit)


class _Chosen:
    """Places that are taken one after the other, the brightest first."""

    def __init__(self, image: MaskedImage, other: MaskedImage, half_px: int) -> None:
        self._images, self._half = (image, other), half_px
        self._taken = np.zeros((MOST_STAMPS, 2), dtype=np.int64)
        self._count = 0

    @property
    def full(self) -> bool:
        return self._count == MOST_STAMPS

    def take(self, x: int, y: int) -> str | None:
        """Take a place, or say why it is not fit."""
        ny, nx = self._images[0].shape
        if self.full:
            return ENOUGH
        if min(x, y, nx - 1 - x, ny - 1 - y) < CORE_PX:
            return OUTSIDE
        near = np.abs(self._taken[: self._count] - (x, y)).max(axis=1) < int(1.5 * self._half)
        if near.any():
            return TOO_CLOSE
        if not all(_has_core(i.flux, i.variance, i.mask, FIT_REJECT, x, y) for i in self._images):
            return MASKED
        self._taken[self._count] = x, y
        self._count += 1
        return None

    def places(self) -> Places:
        x, y = self._taken[: self._count].T
        return Places(x.copy(), y.copy(), self._half)


def _highest(values: NDArray[np.float32], x: int, y: int) -> float:
    """Within a pixel of a place."""
    return float(values[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2].max())


@njit(cache=True, nogil=True)
def _has_core(
    flux: Plane, variance: Plane, mask: NDArray[np.int32], reject: int, x: int, y: int
) -> bool:
    """Whether all pixels within CORE_PX are usable."""
    rows, columns = slice(y - CORE_PX, y + CORE_PX + 1), slice(x - CORE_PX, x + CORE_PX + 1)
    good = np.empty((2 * CORE_PX + 1, 2 * CORE_PX + 1), np.bool_)
    planes = flux[rows, columns], variance[rows, columns], mask[rows, columns]
    mark_usable(*planes, reject, good)
    return bool(good.all())


def tile_places(image: MaskedImage, other: MaskedImage, fwhm_px: float, half_px: int) -> Places:
    """Stamps that tile the image, for fields with too few sources to place stamps around.

    Kept are those in which something shows: a pixel of ``image`` 5 sigma above the sky where a
    point source in ``other`` would be significant too. Of many, the MOST_TILES with most of those.
    """
    background = estimate_background(image)
    shows = image.usable(FIT_REJECT) & (source_map(other, fwhm_px) > SEEN_IN_BOTH)
    shows &= image.flux - background.level > 5.0 * background.noise
    ny, nx = image.shape
    size = 2 * half_px + 1
    starts_y, starts_x = np.arange(0, ny, size), np.arange(0, nx, size)
    counts = np.add.reduceat(np.add.reduceat(shows, starts_y, axis=0, dtype=np.int64), starts_x, 1)
    row, column = np.nonzero(counts)
    order = np.argsort(-counts[row, column], kind="stable")[:MOST_TILES]
    x, y = starts_x[column[order]] + half_px, starts_y[row[order]] + half_px
    return Places(np.minimum(x, nx - 1), np.minimum(y, ny - 1), half_px)

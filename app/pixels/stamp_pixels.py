"""The pixels of an image pair around the places that tell the matching kernel."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from app.pixels.background import FIT_REJECT
from app.pixels.bands import over_rows
from app.pixels.convolve_block import BLOCK_ROWS, NARROW_COLUMNS, correlate_narrow, turned_taps
from app.pixels.image import MaskedImage
from app.pixels.kernels import MatchingKernel, gaussian_profile
from app.pixels.statistics import robust_sigma, thinned

Image = NDArray[np.float32]
Stack = NDArray[np.float32]
Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Planes = tuple[Image, Image, NDArray[np.int32]]
"""Flux, variance and mask of an image."""

MODEL_ERROR: Final = 0.01
"""Share of the signal by which a model with one PSF per place may be wrong without blame."""
CHANGED_SIGMA: Final = 5.0
CHANGED_SHARE: Final = 0.1
SCATTER_SAMPLE: Final = 50_000


@dataclass(frozen=True, slots=True)
class StampPixels:
    """K square stamps of ±``half_px`` around the pixels ``x``, ``y``.

    ``sharp`` (K, wide, wide) is the image to convolve, ``reach_px`` more on every side; ``broad``
    the one it is to look like; both above their sky and 0 where not usable. ``variance`` is that of
    the residual, the model's own error included, ``sharp_variance`` that of ``sharp``. ``usable``
    pixels of broad have the whole kernel's footprint of sharp.
    """

    x: NDArray[np.int64]
    y: NDArray[np.int64]
    half_px: int
    reach_px: int
    sharp: Stack
    broad: Stack
    variance: Stack
    sharp_variance: Stack
    usable: Bools

    def __len__(self) -> int:
        return len(self.x)

    def chosen(self, which: Bools) -> StampPixels:
        """The stamps marked in ``which``."""
        return StampPixels(
            self.x[which],
            self.y[which],
            self.half_px,
            self.reach_px,
            self.sharp[which],
            self.broad[which],
            self.variance[which],
            self.sharp_variance[which],
            self.usable[which],
        )

    def without(self, changed: Bools) -> StampPixels:
        """All stamps, the pixels of ``changed`` (K, size, size) not usable."""
        return replace(self, usable=self.usable & ~changed)


def cut_stamps(
    sharp: MaskedImage,
    broad: MaskedImage,
    skies: tuple[float, float],
    x: NDArray[np.int64],
    y: NDArray[np.int64],
    half_px: int,
    reach_px: int,
    blur: float,
) -> StampPixels:
    """Cut stamps from a pair whose levels are ``skies`` (sharp, broad).

    ``blur`` is the sum of squares of a kernel of sum 1 like the one that is sought.
    """
    size, wide = 2 * half_px + 1, 2 * (half_px + reach_px) + 1
    cuts = np.zeros((len(x), wide, wide), dtype=np.float32)
    planes = np.zeros((3, len(x), size, size), dtype=np.float32)
    usable = np.zeros((len(x), size, size), dtype=np.bool_)
    levels = np.float32(skies[0]), np.float32(skies[1])

    pair = [(image.flux, image.variance, image.mask) for image in (sharp, broad)]

    def stamps(start: int, stop: int) -> None:
        _cut_all(start, stop, *pair, levels, FIT_REJECT, x, y, reach_px, cuts, planes, usable)

    over_rows(stamps, len(x), band_rows=32)
    above, variance, sharp_variance = planes
    ratio = _flux_ratio(cuts[:, reach_px:-reach_px, reach_px:-reach_px], above, usable, half_px)
    noise = variance + np.float32(ratio**2 * blur) * sharp_variance
    noise += (np.float32(MODEL_ERROR) * above) ** 2
    return StampPixels(
        x, y, half_px, reach_px, cuts, above, np.where(usable, noise, 0), sharp_variance, usable
    )


@njit(cache=True, nogil=True)
def _cut_all(
    start: int,
    stop: int,
    sharp: Planes,
    broad: Planes,
    skies: tuple[float, float],
    reject: int,
    x: NDArray[np.int64],
    y: NDArray[np.int64],
    reach: int,
    cuts: Stack,
    planes: NDArray[np.float32],
    usable: Bools,
) -> None:
    """Fill some of the stamps."""
    for k in range(start, stop):
        stamp = cuts[k], planes[0, k], planes[1, k], planes[2, k], usable[k]
        _cut(sharp, broad, skies, reject, x[k], y[k], reach, *stamp)


@njit(cache=True, nogil=True)
def _cut(
    sharp_planes: Planes,
    broad_planes: Planes,
    skies: tuple[float, float],
    reject: int,
    x: int,
    y: int,
    reach: int,
    sharp: Image,
    broad: Image,
    noise: Image,
    sharp_noise: Image,
    usable: Bools,
) -> None:
    """Fill the planes of one stamp; pixels beyond the image are not usable."""
    flux, variance, mask = sharp_planes
    broad_flux, broad_variance, broad_mask = broad_planes
    ny, nx = flux.shape
    size, wide = usable.shape[0], sharp.shape[0]
    limit = np.float32(np.inf)
    lost = np.ones((wide, wide), dtype=np.int32)
    top, left = y - wide // 2, x - wide // 2
    for j in range(max(0, -top), min(wide, ny - top)):
        for i in range(max(0, -left), min(wide, nx - left)):
            value, spread = flux[top + j, left + i], variance[top + j, left + i]
            told = (spread > 0) & (spread < limit) & (abs(value) < limit)
            if told and mask[top + j, left + i] & reject == 0:
                lost[j, i] = 0
                sharp[j, i] = value - skies[0]
                inside = reach <= j < reach + size and reach <= i < reach + size
                if inside:
                    sharp_noise[j - reach, i - reach] = spread
    around = _box_sums(lost, size)
    top, left = y - size // 2, x - size // 2
    for j in range(max(0, -top), min(size, ny - top)):
        for i in range(max(0, -left), min(size, nx - left)):
            value, spread = broad_flux[top + j, left + i], broad_variance[top + j, left + i]
            told = (spread > 0) & (spread < limit) & (abs(value) < limit)
            told &= broad_mask[top + j, left + i] & reject == 0
            if told and around[j, i] == 0:
                usable[j, i] = True
                broad[j, i] = value - skies[1]
                noise[j, i] = spread


@njit(cache=True, nogil=True)
def _box_sums(plane: NDArray[np.int32], size: int) -> NDArray[np.int32]:
    """Sums over the boxes that fit into a square ``size`` times along each axis."""
    wide = plane.shape[0]
    across = np.zeros((wide, size), dtype=np.int32)
    for i in range(wide - size + 1):
        across += plane[:, i : i + size]
    sums = np.zeros((size, size), dtype=np.int32)
    for j in range(wide - size + 1):
        sums += across[j : j + size]
    return sums


def _flux_ratio(sharp: Stack, broad: Stack, usable: Bools, half_px: int) -> float:
    """Median over the stamps of broad flux per sharp flux (rough: it weighs noise only)."""
    core = np.s_[:, max(0, half_px - 5) : half_px + 6, max(0, half_px - 5) : half_px + 6]
    seen = usable[core]
    below, above = (
        np.where(seen, stack[core], np.float32(0)).sum(axis=(1, 2), dtype=np.float64)
        for stack in (sharp, broad)
    )
    bright = below > 0
    return float(np.median(above[bright] / below[bright])) if bright.any() else 1.0


class ChangeFinder:
    """Finds what a fit leaves unexplained: CHANGED_SIGMA and CHANGED_SHARE of the model's own flux,
    as a point source of ``fwhm_px``.

    A transient or variable star in or near a stamp would else pull the kernel; what an imperfect
    kernel leaves of a bright star is less.
    """

    def __init__(self, pixels: StampPixels, fwhm_px: float) -> None:
        self._profile = gaussian_profile(fwhm_px).astype(np.float32)
        self._reach_px = round(1.2 * fwhm_px)
        self._noise = np.empty_like(pixels.variance)

        def stamps(start: int, stop: int) -> None:
            _smooth_noise(start, stop, pixels.variance, self._profile, self._noise)

        over_rows(stamps, len(pixels), band_rows=16)

    def changed(self, pixels: StampPixels, kernel: MatchingKernel, sky: Floats) -> Bools:
        """Pixels (K, size, size) around what has changed; ``pixels`` are those it was made with,
        but for what is usable, and ``sky`` (K) is the fitted level at each stamp."""
        taps = turned_taps(kernel.at(pixels.x.astype(np.float64), pixels.y.astype(np.float64)))
        models, pulls = np.empty_like(pixels.broad), np.zeros_like(pixels.broad)

        def pull(start: int, stop: int) -> None:
            _pull_all(
                start, stop, pixels.sharp, pixels.broad, pixels.usable, taps, sky, self._profile,
                self._noise, models, pulls,
            )  # fmt: skip

        over_rows(pull, len(pixels), band_rows=16)
        scatter = robust_sigma(thinned(pulls[pixels.usable], SCATTER_SAMPLE))
        limit = np.float32(CHANGED_SIGMA * max(1.0, scatter))
        changed = np.zeros_like(pixels.usable)
        _mark_changed(
            models, pulls, self._noise, limit, CHANGED_SHARE, self._profile, self._reach_px, changed
        )
        return changed & pixels.usable


@njit(cache=True, nogil=True)
def _smooth_noise(start: int, stop: int, variance: Stack, profile: Image, noise: Stack) -> None:
    """The noise of some smoothed stamps."""
    for k in range(start, stop):
        noise[k] = np.sqrt(_smooth(variance[k], profile**2))


@njit(cache=True, nogil=True)
def _pull_all(
    start: int,
    stop: int,
    sharp: Stack,
    broad: Stack,
    usable: Bools,
    taps: Stack,
    sky: Floats,
    profile: Image,
    noise: Stack,
    models: Stack,
    pulls: Stack,
) -> None:
    """Models of some stamps, and the significance of what they leave."""
    for k in range(start, stop):
        _model(sharp[k], taps[k], models[k])
        level = np.float32(sky[k])
        _pull(models[k], broad[k], usable[k], level, profile, noise[k], pulls[k])


@njit(cache=True, nogil=True)
def _model(sharp: Image, taps: Image, model: Image) -> None:
    """A stamp convolved with the kernel."""
    size, wide = model.shape[0], sharp.shape[0]
    rows, columns = -(-size // BLOCK_ROWS) * BLOCK_ROWS, -(-size // NARROW_COLUMNS) * NARROW_COLUMNS
    padded = np.zeros((wide - size + rows, wide - size + columns), dtype=np.float32)
    padded[:wide, :wide] = sharp
    whole = np.empty((rows, columns), dtype=np.float32)
    for y in range(0, rows, BLOCK_ROWS):
        for x in range(0, columns, NARROW_COLUMNS):
            correlate_narrow(padded, taps, y, x, whole)
    model[:] = whole[:size, :size]


@njit(cache=True, nogil=True)
def _pull(
    model: Image,
    broad: Image,
    usable: Bools,
    sky: float,
    profile: Image,
    noise: Image,
    pulls: Image,
) -> None:
    """Significance of the smoothed residual; the model becomes 0 where pixels are not usable."""
    left = np.zeros_like(broad)
    for y in range(broad.shape[0]):
        for x in range(broad.shape[1]):
            if usable[y, x]:
                left[y, x] = broad[y, x] - model[y, x] - sky
            else:
                model[y, x] = 0.0
    flux = _smooth(left, profile)
    for y in range(broad.shape[0]):
        for x in range(broad.shape[1]):
            if usable[y, x] and noise[y, x] > 0.0:
                pulls[y, x] = flux[y, x] / noise[y, x]


@njit(cache=True, nogil=True)
def _mark_changed(
    models: Stack,
    pulls: Stack,
    noise: Stack,
    limit: float,
    share: float,
    profile: Image,
    reach: int,
    changed: Bools,
) -> None:
    """Mark squares of ±``reach`` around pixels beyond the ``limit`` and the ``share`` of the
    smoothed model."""
    half, size = profile.size // 2, pulls.shape[1]
    for k in range(pulls.shape[0]):
        for y in range(size):
            for x in range(size):
                if not abs(pulls[k, y, x]) > limit:
                    continue
                signal = np.float32(0.0)
                for j in range(max(0, y - half), min(size, y + half + 1)):
                    for i in range(max(0, x - half), min(size, x + half + 1)):
                        weight = profile[j - y + half] * profile[i - x + half]
                        signal += weight * models[k, j, i]
                if abs(pulls[k, y, x]) * noise[k, y, x] > share * abs(signal):
                    top, left = max(0, y - reach), max(0, x - reach)
                    changed[k, top : y + reach + 1, left : x + reach + 1] = True


@njit(cache=True, nogil=True)
def _smooth(plane: Image, profile: Image) -> Image:
    """Convolve a stamp with a symmetric profile along both axes; beyond it is 0."""
    size, half = plane.shape[0], profile.size // 2
    across, out = np.zeros((size, size), dtype=np.float32), np.zeros((size, size), dtype=np.float32)
    for y in range(size):
        for t in range(-half, half + 1):
            weight = profile[t + half]
            for x in range(max(0, -t), min(size, size - t)):
                across[y, x] += weight * plane[y, x + t]
    for y in range(size):
        for t in range(max(-half, -y), min(half + 1, size - y)):
            weight = profile[t + half]
            for x in range(size):
                out[y, x] += weight * across[y + t, x]
    return out

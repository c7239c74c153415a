"""Forced photometry: the PSF flux at a given place, whether or not anything is seen there.

With PSF P and flux D the flux is ``sum(P D) / sum(P^2)`` over usable pixels. Equal weights: a
variance plane that holds the source's own photon noise would pull a weighted flux down. The error
counts the noise that neighbouring pixels share, as the blank pixels around show it: with
``a = P sqrt(V) / sum(P^2)`` and the autocorrelation r of ``D / sqrt(V)``, the variance is
``sum over i, j of a_i a_j r(i - j)``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil, floor, hypot, sqrt
from typing import Final

import numpy as np
from numpy.typing import NDArray

from app.pixels.background import FIT_REJECT, source_free
from app.pixels.image import MaskedImage
from app.pixels.kernels import FWHM_TO_SIGMA
from app.pixels.psf_field import Profile
from app.pixels.statistics import clipped_mean

Floats = NDArray[np.float64]

LEAST_SHARE: Final = 0.5
"""A place is measured when the usable pixels hold this share of the PSF's power."""
INNER_SIGMA: Final = 7.0
OUTER_SIGMA: Final = 15.0
"""Radii of the ring that shows the local background, in sigmas of the PSF: those of Rubin's
base_LocalBackground (meas_base)."""
LEAST_RING: Final = 20
HALF_PX: Final = 40
"""Half the window at least: its blank pixels show the noise to a few percent."""
REACH_PX: Final = 5
"""Pixels farther apart count as independent."""
LEAST_BLANK: Final = 500
BLANK_THRESHOLD: Final = 5.0
CLIP_PULL: Final = 5.0
LEAST_NOISE: Final = 0.25
"""Share of the variance of independent pixels that no anticorrelation takes away."""


@dataclass(frozen=True, slots=True)
class ForcedFlux:
    """Flux and error in the image's unit; NaN where too little of the PSF is on usable pixels.

    ``background`` (flux per pixel; NaN when no ring shows it) with its error; ``mask``: the bits of
    the pixels within one FWHM; ``usable_share``: of the PSF's power.
    """

    flux: float
    error: float
    background: float
    background_error: float
    mask: int
    usable_share: float


def window_half_px(profile: Profile, fwhm_px: float) -> int:
    """Half the side of the window that :func:`measure_forced` looks at."""
    ring = ceil(OUTER_SIGMA * FWHM_TO_SIGMA * fwhm_px)
    return max(HALF_PX, ring, ceil(profile.reach_px)) + 1


def measure_forced(
    image: MaskedImage,
    x: float,
    y: float,
    profile: Profile,
    fwhm_px: float,
    *,
    subtract_background: bool = False,
) -> ForcedFlux:
    """The flux of a point source at a pixel position of ``image``, a window about it.

    With ``subtract_background`` the background of the ring is taken off before, and its error is
    part of the flux's.
    """
    good = image.usable(FIT_REJECT)
    background, background_error = _ring(image, good, x, y, fwhm_px)
    mask = _mask_near(image.mask, x, y, fwhm_px)
    part, stamp = _overlap(profile, x, y, image.shape)
    power = float((stamp**2).sum())
    weight = np.zeros(image.shape)
    weight[part] = np.where(good[part], stamp[_within(stamp.shape, part, x, y)], 0.0)
    kept = float((weight**2).sum())
    share = kept / power
    if share < LEAST_SHARE:
        return ForcedFlux(np.nan, np.nan, background, background_error, mask, share)
    weight /= kept
    flux = float((weight * np.where(good, image.flux, 0.0)).sum())
    variance = _variance(image, good, weight)
    if subtract_background:
        flux -= background * float(weight.sum())
        variance += (background_error * float(weight.sum())) ** 2
    return ForcedFlux(flux, sqrt(variance), background, background_error, mask, share)


def _overlap(
    profile: Profile, x: float, y: float, shape: tuple[int, int]
) -> tuple[tuple[slice, slice], Floats]:
    """Where the PSF's stamp lies on the image, and the whole stamp."""
    column, row = round(x), round(y)
    stamp = profile.stamp(dx=x - column, dy=y - row)
    half = stamp.shape[0] // 2
    rows = slice(max(0, row - half), max(0, min(shape[0], row + half + 1)))
    columns = slice(max(0, column - half), max(0, min(shape[1], column + half + 1)))
    return (rows, columns), stamp


def _within(
    stamp_shape: tuple[int, ...], part: tuple[slice, slice], x: float, y: float
) -> tuple[slice, slice]:
    """The part of the stamp that lies on the image."""
    half = stamp_shape[0] // 2
    low_y, low_x = round(y) - half, round(x) - half
    rows, columns = part
    return (
        slice(rows.start - low_y, rows.stop - low_y),
        slice(columns.start - low_x, columns.stop - low_x),
    )


def _distances(shape: tuple[int, int], x: float, y: float) -> Floats:
    distances: Floats = np.hypot(np.arange(shape[1])[None, :] - x, np.arange(shape[0])[:, None] - y)
    return distances


def _ring(
    image: MaskedImage, good: NDArray[np.bool_], x: float, y: float, fwhm_px: float
) -> tuple[float, float]:
    """Clipped mean of the ring about a place, and its error."""
    sigma_px = FWHM_TO_SIGMA * fwhm_px
    distance = _distances(image.shape, x, y)
    ring = (distance >= INNER_SIGMA * sigma_px) & (distance <= OUTER_SIGMA * sigma_px) & good
    if np.count_nonzero(ring) < LEAST_RING:
        return float("nan"), float("nan")
    found = clipped_mean(image.flux[ring])
    return found.mean, found.sigma / sqrt(found.count)


def _mask_near(mask: NDArray[np.int32], x: float, y: float, fwhm_px: float) -> int:
    """The bits set within one FWHM of a place (at least in its own pixel)."""
    near = _distances((mask.shape[0], mask.shape[1]), x, y) <= max(fwhm_px, 0.75)
    return int(np.bitwise_or.reduce(mask[near])) if near.any() else 0


def _variance(image: MaskedImage, good: NDArray[np.bool_], weight: Floats) -> float:
    """Of the weighted sum of the pixels."""
    noise = weight * np.sqrt(np.where(good, image.variance, 0.0))
    own = float((noise**2).sum())
    blank = source_free(image, threshold=BLANK_THRESHOLD)
    if np.count_nonzero(blank) < LEAST_BLANK:
        return own
    pulls = np.zeros(image.shape)
    pulls[blank] = (image.flux[blank] - np.median(image.flux[blank])) / np.sqrt(
        image.variance[blank]
    )
    blank &= np.abs(pulls) < CLIP_PULL
    pulls[~blank] = 0.0
    seen = blank.astype(np.float64)
    total = 0.0
    for dy, dx, count in _lags():
        pairs = _product(seen, dy, dx)
        if pairs > 0:
            total += count * _product(noise, dy, dx) * _product(pulls, dy, dx) / pairs
    return max(total, LEAST_NOISE * own)


def _lags() -> Iterator[tuple[int, int, int]]:
    """Offsets (rows, columns) within REACH_PX, one of each opposite pair, and how many it counts
    for."""
    for dy in range(REACH_PX + 1):
        for dx in range(-REACH_PX, REACH_PX + 1):
            if hypot(dx, dy) <= REACH_PX and (dy, dx) >= (0, 0):
                yield dy, dx, 1 if (dy, dx) == (0, 0) else 2


def _product(plane: Floats, dy: int, dx: int) -> float:
    """The sum of products of pixels that lie (dy, dx) apart; dy >= 0."""
    ny, nx = plane.shape
    left, right = max(0, -dx), nx - max(0, dx)
    return float(np.vdot(plane[: ny - dy, left:right], plane[dy:, left + dx : right + dx]))


def edge_distance_px(shape: tuple[int, int], x: float, y: float) -> float:
    """From a place on an image to its nearest outer edge."""
    ny, nx = shape
    return min(x + 0.5, nx - 0.5 - x, y + 0.5, ny - 0.5 - y)


def window_about(
    shape: tuple[int, int], x: float, y: float, half_px: int
) -> tuple[int, int, int, int]:
    """Half-open (y0, y1, x0, x1) of the part of an image about a place on it."""
    column, row = floor(x + 0.5), floor(y + 0.5)
    return (
        max(0, row - half_px),
        min(shape[0], row + half_px + 1),
        max(0, column - half_px),
        min(shape[1], column + half_px + 1),
    )

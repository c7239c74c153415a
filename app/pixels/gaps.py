"""Narrow gaps without data, filled from both sides; pixels of unusual variance, marked.

A gap is crossed along its narrow direction. Weights are those of the best linear prediction of a
random field with the correlation of the PSF, exp(-d^2 / 4 sigma^2), from the two pixels on either
side, as in Rubin's meas_algorithms (interpolateOverDefects); their sum is 1, so that a flat sky
stays flat.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from app.pixels.bands import over_rows
from app.pixels.image import MaskedImage, bits, lattice
from app.pixels.kernels import FWHM_TO_SIGMA

Plane = NDArray[np.float32]
Floats = NDArray[np.float64]

SIDE_PX: Final = 2
NOISE: Final = 0.01
"""Variance of the noise per variance of the field: keeps the weights small."""
WIDEST: Final = 1.5
"""Gaps of more than this many FWHM are left: nothing is known of their middle."""
CELL_PX: Final = 32
HIGH_FACTOR: Final = 4.0
LEAST_UNMASKED: Final = 0.1
DEFECTS: Final = bits("BAD", "CR")
IGNORED: Final = bits("BAD", "EDGE", "DETECTED", "DETECTED_NEGATIVE", "NO_DATA")


def fill_narrow_gaps(image: MaskedImage, fwhm_px: float) -> MaskedImage:
    """``image`` with narrow gaps of NaN filled and marked INTRP.

    NO_DATA stays on them: nothing was measured there. The variance is what the prediction has from
    its pixels, and never less than the mean of theirs.
    """
    widest = int(WIDEST * fwhm_px)
    missing = ~(np.isfinite(image.flux) & np.isfinite(image.variance))
    if widest < 1 or not missing.any():
        return image
    flux, variance = image.flux.copy(), image.variance.copy()
    filled = np.zeros(image.shape, dtype=np.bool_)
    weights = _prediction(widest, fwhm_px * FWHM_TO_SIGMA)
    _fill(image.flux, image.variance, missing, weights, flux, variance, filled)
    mask = image.mask | np.where(filled, np.int32(bits("INTRP")), np.int32(0))
    return replace(image, flux=flux, variance=variance, mask=mask.astype(np.int32))


def fill_defects(image: MaskedImage, fwhm_px: float) -> MaskedImage:
    """``image`` with values of BAD and CR filled from beside, as far as gaps are narrow, and NaN
    where they are not: broad filters would make rings of them. Masks stay as they are."""
    defect = (image.mask & DEFECTS) != 0
    flux = np.where(defect, np.float32(np.nan), image.flux).astype(np.float32)
    return replace(fill_narrow_gaps(replace(image, flux=flux), fwhm_px), mask=image.mask)


def _prediction(widest: int, sigma_px: float) -> Floats:
    """Weights (gap length, place in it, pixel): of the pixels -2, -1 before and +1, +2 after."""
    table = np.zeros((widest + 1, widest, 2 * SIDE_PX))
    for length in range(1, widest + 1):
        known = np.array([-2.0, -1.0, length, length + 1.0])
        covariance = np.exp(-((known[:, None] - known) ** 2) / (4.0 * sigma_px**2))
        covariance += NOISE * np.eye(len(known))
        for place in range(length):
            wanted = np.exp(-((known - place) ** 2) / (4.0 * sigma_px**2))
            weight, flat = np.linalg.solve(covariance, np.stack([wanted, np.ones(4)], axis=1)).T
            table[length, place] = weight + flat * (1.0 - weight.sum()) / flat.sum()
    return table


@njit(cache=True, nogil=True)
def _gap(missing: NDArray[np.bool_], y: int, x: int, dy: int, dx: int) -> tuple[int, int]:
    """Length of the gap through (y, x) along a direction and the place in it; 0: no end in sight.

    Both ends need SIDE_PX pixels with data.
    """
    ny, nx = missing.shape
    before, after = 0, 0
    j, i = y - dy, x - dx
    while j >= 0 and i >= 0 and missing[j, i]:
        before += 1
        j, i = j - dy, i - dx
    if j - dy < 0 or i - dx < 0 or missing[j - dy, i - dx]:
        return 0, 0
    j, i = y + dy, x + dx
    while j < ny and i < nx and missing[j, i]:
        after += 1
        j, i = j + dy, i + dx
    if j + dy >= ny or i + dx >= nx or missing[j + dy, i + dx]:
        return 0, 0
    return before + 1 + after, before


@njit(cache=True, nogil=True)
def _fill(
    flux: Plane,
    variance: Plane,
    missing: NDArray[np.bool_],
    weights: Floats,
    out_flux: Plane,
    out_variance: Plane,
    filled: NDArray[np.bool_],
) -> None:
    widest = weights.shape[1]
    for y in range(flux.shape[0]):
        for x in range(flux.shape[1]):
            if not missing[y, x]:
                continue
            dy, dx = 0, 1
            length, place = _gap(missing, y, x, 0, 1)
            down, below = _gap(missing, y, x, 1, 0)
            if length == 0 or 0 < down < length:
                dy, dx, length, place = 1, 0, down, below
            if length == 0 or length > widest:
                continue
            value, noise, mean = 0.0, 0.0, 0.0
            for k in range(2 * SIDE_PX):
                step = (k - SIDE_PX if k < SIDE_PX else length + k - SIDE_PX) - place
                j, i = y + dy * step, x + dx * step
                value += weights[length, place, k] * flux[j, i]
                noise += weights[length, place, k] ** 2 * variance[j, i]
                mean += variance[j, i] / (2 * SIDE_PX)
            out_flux[y, x], out_variance[y, x] = value, max(noise, mean)
            filled[y, x] = True


def high_variance(image: MaskedImage) -> NDArray[np.bool_]:
    """Pixels where the variance, smoothed over cells of 32 px, is above 4 times its median.

    All False when less than a tenth of the pixels tell of it (after lsst.ip.diffim,
    checkHighVariance).
    """
    good = image.usable(IGNORED)
    ny, nx = image.shape
    if np.count_nonzero(good) < LEAST_UNMASKED * good.size:
        return np.zeros(image.shape, dtype=np.bool_)
    cells = _cell_medians(image.variance, good)
    sample = lattice(image)
    middle = float(np.median(sample.variance[sample.usable(IGNORED)]))
    cells[np.isnan(cells)] = middle
    (below, down), (left, across) = (
        _between_cells(size, n) for size, n in zip(image.shape, cells.shape, strict=True)
    )
    along = (
        cells[:, left] * (1.0 - across)
        + cells[:, np.minimum(left + 1, cells.shape[1] - 1)] * across
    )
    marked = np.empty((ny, nx), dtype=np.bool_)
    limit = HIGH_FACTOR * middle
    over_rows(lambda start, stop: _mark_above(start, stop, along, below, down, limit, marked), ny)
    return marked


def _cell_medians(variance: Plane, good: NDArray[np.bool_]) -> Floats:
    """The median of the good pixels of each cell, NaN without any."""
    ny, nx = variance.shape
    cells = np.full((-(-ny // CELL_PX), -(-nx // CELL_PX)), np.nan)

    def rows(row: int, _: int) -> None:
        part = slice(row * CELL_PX, (row + 1) * CELL_PX)
        samples = np.full((cells.shape[1], CELL_PX**2), np.inf, dtype=np.float32)
        counts = np.zeros(cells.shape[1], dtype=np.int64)
        _sample_cells(variance[part], good[part], samples, counts)
        samples.sort(axis=1)
        some, n = np.flatnonzero(counts), counts[counts > 0]
        cells[row, some] = 0.5 * (samples[some, (n - 1) // 2] + samples[some, n // 2])

    over_rows(rows, len(cells), band_rows=1)
    return cells


@njit(cache=True, nogil=True)
def _sample_cells(
    variance: Plane, good: NDArray[np.bool_], samples: Plane, counts: NDArray[np.int64]
) -> None:
    for y in range(variance.shape[0]):
        for x in range(variance.shape[1]):
            if good[y, x]:
                cell = x // CELL_PX
                samples[cell, counts[cell]] = variance[y, x]
                counts[cell] += 1


def _between_cells(size: int, cells: int) -> tuple[NDArray[np.int64], Floats]:
    """Of every pixel the cell whose middle is before it, and the part of the way to the next; the
    first and the last cell reach to the borders."""
    at = np.clip((np.arange(size) - CELL_PX / 2) / CELL_PX, 0.0, cells - 1.0)
    before = at.astype(np.int64)
    return before, at - before


@njit(cache=True, nogil=True)
def _mark_above(
    start: int,
    stop: int,
    along: Floats,
    below: NDArray[np.int64],
    down: Floats,
    limit: float,
    marked: NDArray[np.bool_],
) -> None:
    """Mark where what is interpolated between the rows of ``along`` is above the limit."""
    for y in range(start, stop):
        low, high = along[below[y]], along[min(below[y] + 1, len(along) - 1)]
        for x in range(marked.shape[1]):
            marked[y, x] = low[x] * (1.0 - down[y]) + high[x] * down[y] > limit


def with_high_variance(image: MaskedImage) -> MaskedImage:
    """``image`` with HIGH_VARIANCE where :func:`high_variance` finds it."""
    marked = high_variance(image)
    if not marked.any():
        return image
    marked &= (image.mask & bits("NO_DATA")) == 0
    mask = image.mask | np.where(marked, np.int32(bits("HIGH_VARIANCE")), np.int32(0))
    return replace(image, mask=mask.astype(np.int32))

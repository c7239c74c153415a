"""Median, quartiles and clipped means of the N values of every pixel, whole rows at a time.

The values of a row are sorted by a network (:mod:`app.pixels.networks`): the same few comparisons
for every pixel, so that the compiler does many pixels in one instruction.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from app.pixels.statistics import IQR_TO_SIGMA

Plane = NDArray[np.float32]
Cube = NDArray[np.float32]
Pairs = NDArray[np.int64]
_FAST: Final = {"contract", "nsz", "reassoc"}


@njit(cache=True, nogil=True)
def _exchange(low: Plane, high: Plane) -> None:
    """Put the smaller of each two values into ``low``."""
    for x in range(low.size):
        first, second = low[x], high[x]
        low[x] = first if first < second else second
        high[x] = second if first < second else first


@njit(cache=True, nogil=True)
def _load(cube: Cube, y: int, values: Cube, count: NDArray[np.int32]) -> None:
    """One row of every input, NaN as +inf, and how many values each pixel has."""
    count[:] = 0
    for n in range(cube.shape[0]):
        origin, out = cube[n, y], values[n]
        for x in range(out.size):
            value = origin[x]
            present = not np.isnan(value)
            out[x] = value if present else np.float32(np.inf)
            count[x] += present


@njit(cache=True, nogil=True, inline="always")
def _quantile(values: Cube, x: int, count: int, fraction: float) -> float:
    position = fraction * (count - 1)
    below = int(position)
    above = min(below + 1, count - 1)
    low = values[below, x]
    return float(low + (values[above, x] - low) * (position - below))


@njit(cache=True, nogil=True)
def order_rows(
    cube: Cube, pairs: Pairs, centre: Plane, scatter: Plane, count: NDArray[np.int32]
) -> None:
    """Median, interquartile scatter and number of the values of ``cube`` (N, rows, nx).

    Missing values are NaN. Of two values the median is the lower (what hits an exposure adds
    light), and up to three give no scatter (0). Both are NaN where there is no value.
    """
    inputs, rows, nx = cube.shape
    values = np.empty((inputs, nx), np.float32)
    for y in range(rows):
        _load(cube, y, values, count[y])
        for k in range(pairs.shape[0]):
            _exchange(values[pairs[k, 0]], values[pairs[k, 1]])
        for x in range(nx):
            n = count[y, x]
            if n == 0:
                centre[y, x] = scatter[y, x] = np.nan
                continue
            centre[y, x] = values[0, x] if n == 2 else _quantile(values, x, n, 0.5)
            spread = _quantile(values, x, n, 0.75) - _quantile(values, x, n, 0.25)
            scatter[y, x] = IQR_TO_SIGMA * spread if n > 3 else 0.0


@njit(cache=True, nogil=True, fastmath=_FAST)
def _add_kept(
    values: Plane,
    weight: np.float32,
    centre: Plane,
    scatter: Plane,
    noise: Plane,
    clip_sigma: np.float32,
    sums: Cube,
) -> None:
    """Add the values within their reach of the centre to the sums of w, w d and w d^2."""
    total, first, second = sums[0], sums[1], sums[2]
    own = np.float32(1.0 / np.sqrt(weight))
    for x in range(values.size):
        apart = values[x] - centre[x]
        expected = own * noise[x]
        reach = clip_sigma * (scatter[x] if scatter[x] > expected else expected)
        share = weight if abs(apart) <= reach else np.float32(0.0)
        apart = apart if abs(apart) <= reach else np.float32(0.0)
        total[x] += share
        first[x] += share * apart
        second[x] += share * apart * apart


@njit(cache=True, nogil=True)
def clipped_rows(
    cube: Cube,
    weights: Plane,
    unit_noise: Plane,
    clip_sigma: float,
    iterations: int,
    centre: Plane,
    scatter: Plane,
    kept: Plane,
) -> None:
    """Clipped weighted mean; ``centre`` and ``scatter`` are the first guess and are overwritten.

    A value is kept within ``clip_sigma`` times the scatter, or its own noise (``unit_noise`` /
    sqrt(weight)) if that is more: with few inputs their scatter says little. ``kept`` is the
    weight that stayed.
    """
    inputs, rows, nx = cube.shape
    sums, sigma = np.empty((3, nx), np.float32), np.float32(clip_sigma)
    for y in range(rows):
        for _ in range(iterations):
            sums[:] = 0.0
            for n in range(inputs):
                _add_kept(cube[n, y], weights[n], centre[y], scatter[y], unit_noise[y], sigma, sums)
            for x in range(nx):
                total = sums[0, x]
                if total > 0.0:
                    step = sums[1, x] / total
                    centre[y, x] += step
                    scatter[y, x] = np.sqrt(max(sums[2, x] / total - step * step, np.float32(0.0)))
        kept[y] = sums[0]


@njit(cache=True, nogil=True, fastmath=_FAST)
def add_rows(values: Plane, variance: Plane, weight: np.float32, middle: Plane, sums: Cube) -> None:
    """Add the present values of one input, (rows, nx) as all planes here.

    ``sums`` (4, rows, nx): w, w (x - middle), w v, and the largest w v.
    """
    rows, nx = values.shape
    zero = np.float32(0.0)
    for y in range(rows):
        for x in range(nx):
            present = not np.isnan(values[y, x])
            unit = weight * variance[y, x] if present else zero
            sums[0, y, x] += weight if present else zero
            sums[1, y, x] += weight * (values[y, x] - middle[y, x]) if present else zero
            sums[2, y, x] += unit
            sums[3, y, x] = unit if unit > sums[3, y, x] else sums[3, y, x]

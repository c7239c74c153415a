"""The compiled pixel kernels of :mod:`app.pixels.coadd`: one output pixel from N input values."""

from __future__ import annotations

from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from app.pixels.image import UNUSABLE, bits

Cube = NDArray[np.float32]
Image = NDArray[np.float32]
Mask = NDArray[np.int32]

NO_DATA: Final = bits("NO_DATA")
EDGE: Final = bits("EDGE")
SAT: Final = bits("SAT")
CLIPPED: Final = bits("CLIPPED")
REJECTED: Final = bits("REJECTED")
SENSOR_EDGE: Final = bits("SENSOR_EDGE")
REJECTING: Final = UNUSABLE & ~(NO_DATA | EDGE | CLIPPED)
"""Planes whose rejection is told as REJECTED; that of EDGE is told as SENSOR_EDGE."""
IQR_TO_SIGMA: Final = 0.7413


@njit(cache=True, nogil=True)
def _sort(values: NDArray[np.float64], count: int) -> None:
    """Insertion sort of the first ``count`` values: best for the few values of a pixel."""
    for i in range(1, count):
        value = values[i]
        j = i - 1
        while j >= 0 and values[j] > value:
            values[j + 1] = values[j]
            j -= 1
        values[j + 1] = value


@njit(cache=True, nogil=True)
def _quantile(ordered: NDArray[np.float64], count: int, fraction: float) -> float:
    """Linear-interpolated quantile of the first ``count`` ordered values."""
    position = fraction * (count - 1)
    below = int(position)
    if below + 1 >= count:
        return float(ordered[count - 1])
    return float(ordered[below] + (ordered[below + 1] - ordered[below]) * (position - below))


@njit(cache=True, nogil=True)
def centre_rows(
    flux: Cube,
    variance: Cube,
    good: NDArray[np.bool_],
    weights: NDArray[np.float64],
    centre: Image,
    scatter: Image,
    unit_variance: Image,
) -> None:
    """Per pixel: median (lower value of two), interquartile scatter, median of variance x weight.

    Arrays are (N, ny, nx) and (ny, nx); pixels without a good input get NaN. The last plane times
    1/weight is the noise variance expected of an input there, robust against an input whose own
    variance was raised by what hit it.
    """
    inputs, ny, nx = flux.shape
    values, noises = np.empty(inputs), np.empty(inputs)
    for y in range(ny):
        for x in range(nx):
            count = 0
            for n in range(inputs):
                if good[n, y, x]:
                    values[count] = flux[n, y, x]
                    noises[count] = variance[n, y, x] * weights[n]
                    count += 1
            if count == 0:
                centre[y, x] = scatter[y, x] = unit_variance[y, x] = np.nan
                continue
            _sort(values, count)
            _sort(noises, count)
            unit_variance[y, x] = _quantile(noises, count, 0.5)
            centre[y, x] = values[0] if count == 2 else _quantile(values, count, 0.5)
            spread = _quantile(values, count, 0.75) - _quantile(values, count, 0.25)
            scatter[y, x] = IQR_TO_SIGMA * spread if count > 3 else 0.0


@njit(cache=True, nogil=True)
def clip_rows(
    flux: Cube,
    good: NDArray[np.bool_],
    weights: NDArray[np.float64],
    centre: Image,
    scatter: Image,
    unit_variance: Image,
    allowance: Image,
    clip_sigma: float,
    iterations: int,
    clipped: NDArray[np.bool_],
) -> None:
    """Mark in ``clipped`` the good values too far from the others.

    A value is too far when ``|x - c| > clip_sigma * max(expected noise, scatter) + allowance``.
    c and scatter are those given in the first iteration, then the weighted mean of the kept values
    and their weighted standard deviation; the allowance shelters star cores whose inputs differ in
    seeing. The last value left is never clipped.
    """
    inputs, ny, nx = flux.shape
    for y in range(ny):
        for x in range(nx):
            middle, spread = float(centre[y, x]), float(scatter[y, x])
            if np.isnan(middle):
                continue
            for _ in range(iterations):
                total, first, changed = 0.0, 0.0, False
                for n in range(inputs):
                    if not good[n, y, x]:
                        continue
                    noise = np.sqrt(unit_variance[y, x] / weights[n])
                    reach = clip_sigma * max(noise, spread) + allowance[y, x]
                    out = abs(flux[n, y, x] - middle) > reach
                    changed |= out != clipped[n, y, x]
                    clipped[n, y, x] = out
                    if not out:
                        total += weights[n]
                        first += weights[n] * (flux[n, y, x] - middle)
                if total == 0.0:
                    for n in range(inputs):
                        clipped[n, y, x] = False
                    break
                if not changed:
                    break
                mean, second = middle + first / total, 0.0
                for n in range(inputs):
                    if good[n, y, x] and not clipped[n, y, x]:
                        second += weights[n] * (flux[n, y, x] - mean) ** 2
                middle, spread = mean, np.sqrt(second / total)


@njit(cache=True, nogil=True)
def add_rows(
    flux: Image,
    variance: Image,
    mask: Mask,
    good: NDArray[np.bool_],
    clipped: NDArray[np.bool_],
    weight: float,
    sums: NDArray[np.float64],
    planes: NDArray[np.int32],
) -> None:
    """Add rows of one input to the running sums.

    ``sums`` is (5, ny, nx): w x, w^2 v, w of the used; w of the inputs with data; w of those
    rejected as SAT. ``planes`` is (4, ny, nx): OR of used masks, OR of rejected masks, flags of
    what was lost, number of good inputs.
    """
    ny, nx = flux.shape
    for y in range(ny):
        for x in range(nx):
            seen = mask[y, x]
            if seen & NO_DATA == 0:
                sums[3, y, x] += weight
            if not good[y, x]:
                planes[1, y, x] |= seen & ~(NO_DATA | EDGE)
                if seen & SAT != 0:
                    sums[4, y, x] += weight
                if seen & REJECTING != 0:
                    planes[2, y, x] |= REJECTED
                if seen & EDGE != 0:
                    planes[2, y, x] |= SENSOR_EDGE
                continue
            planes[3, y, x] += 1
            if clipped[y, x]:
                planes[2, y, x] |= CLIPPED
                continue
            planes[0, y, x] |= seen
            sums[0, y, x] += weight * flux[y, x]
            sums[1, y, x] += weight * weight * variance[y, x]
            sums[2, y, x] += weight

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
REJECTING: Final = UNUSABLE & ~(NO_DATA | EDGE)
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
    """Per pixel: median (lower value of two), interquartile scatter, mean of variance x weight.

    Arrays are (N, ny, nx) and (ny, nx); pixels without a good input get NaN. The last plane times
    1/weight is the noise variance expected of an input there; the largest value takes no part in
    the mean, as an input's own variance may have been raised by what hit it.
    """
    inputs, ny, nx = flux.shape
    values = np.empty(inputs)
    for y in range(ny):
        for x in range(nx):
            count, total, largest = 0, 0.0, 0.0
            for n in range(inputs):
                if good[n, y, x]:
                    values[count] = flux[n, y, x]
                    unit = variance[n, y, x] * weights[n]
                    total += unit
                    largest = max(largest, unit)
                    count += 1
            if count == 0:
                centre[y, x] = scatter[y, x] = unit_variance[y, x] = np.nan
                continue
            _sort(values, count)
            unit_variance[y, x] = (total - largest) / (count - 1) if count > 1 else total
            centre[y, x] = values[0] if count == 2 else _quantile(values, count, 0.5)
            spread = _quantile(values, count, 0.75) - _quantile(values, count, 0.25)
            scatter[y, x] = IQR_TO_SIGMA * spread if count > 3 else 0.0


@njit(cache=True, nogil=True)
def _clip_once(
    values: Image,
    good: NDArray[np.bool_],
    weights: NDArray[np.float64],
    reach: NDArray[np.float64],
    middle: float,
    clipped: NDArray[np.bool_],
) -> tuple[float, float, bool]:
    """Clip one pixel's values around ``middle``; returns (weight kept, their mean, any change)."""
    total, first, changed = 0.0, 0.0, False
    for n in range(values.size):
        if good[n]:
            out = abs(values[n] - middle) > reach[n]
            changed |= out != clipped[n]
            clipped[n] = out
            if not out:
                total += weights[n]
                first += weights[n] * (values[n] - middle)
    return total, middle + first / total if total > 0.0 else middle, changed


@njit(cache=True, nogil=True)
def _clip_pixel(
    values: Image,
    good: NDArray[np.bool_],
    weights: NDArray[np.float64],
    noise: NDArray[np.float64],
    start: tuple[float, float],
    allowance: float,
    clip_sigma: float,
    iterations: int,
    clipped: NDArray[np.bool_],
) -> None:
    """Clip one pixel's values; ``start`` is the first centre and scatter."""
    middle, spread = start
    for _ in range(iterations):
        reach = clip_sigma * np.maximum(noise, spread) + allowance
        total, mean, changed = _clip_once(values, good, weights, reach, middle, clipped)
        if total == 0.0:
            clipped[:] = False
        if total == 0.0 or not changed:
            return
        second = 0.0
        for n in range(values.size):
            if good[n] and not clipped[n]:
                second += weights[n] * (values[n] - mean) ** 2
        middle, spread = mean, np.sqrt(second / total)


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

    A value is too far when ``|x - c| > clip_sigma * max(expected noise, scatter) + allowance``; the
    expected noise is that of the value and of the mean together. c and scatter are those given in
    the first iteration, then the weighted mean of the kept values and their weighted standard
    deviation; the allowance shelters star cores whose inputs differ in seeing. When every value
    would go none does.
    """
    inputs, ny, nx = flux.shape
    inverse = 1.0 / weights
    for y in range(ny):
        for x in range(nx):
            middle, shelter = centre[y, x], allowance[y, x]
            total = 0.0
            for n in range(inputs):
                if good[n, y, x]:
                    total += weights[n]
            limit = clip_sigma**2 * unit_variance[y, x]
            suspect = False
            for n in range(inputs):
                apart = abs(flux[n, y, x] - middle) - shelter
                far = apart > 0.0 and apart * apart > limit * (inverse[n] + 1.0 / total)
                suspect |= far and good[n, y, x]
            if not suspect:
                continue
            here = good[:, y, x]
            noise = np.sqrt(unit_variance[y, x] * (inverse + 1.0 / total))
            start = (float(centre[y, x]), float(scatter[y, x]))
            _clip_pixel(
                flux[:, y, x],
                here,
                weights,
                noise,
                start,
                allowance[y, x],
                clip_sigma,
                iterations,
                clipped[:, y, x],
            )


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

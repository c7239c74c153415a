"""Compiled kernels of :mod:`app.pixels.coadd`: many inputs' rows at once, some pixels at a time.

A run of RUN pixels of every input fits the first-level cache: its sums, and the comparators of a
sorting network, are plain loops over the run that compilers turn into vector instructions. Each
pixel is computed on its own, in one order, in float32: results depend neither on how rows are cut
into bands nor on the threads that run them.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from app.pixels.blend import EXCLUDED, LEFT_OUT, NO_DATA, blend_run, gather_bits, gather_clean
from app.pixels.image import UNUSABLE
from app.pixels.placed import Image, Mask, Places, Rows, fetch_run, plane_rows

Counts = NDArray[np.int64]
Run = tuple[Image, Image, Image, Image, Image]
Suspects = tuple[Places, Mask, NDArray[np.float32]]
"""Pixels that may have to be clipped, row by row: how many (ny,), their columns (ny, nx), and what
:func:`centre_rows` tells of each (ny, 4, nx); a row's come first in it."""

RUN: Final = 256
TOTAL, FIRST, SECOND, UNITS, LARGEST, COUNT, ROOTS, HIDDEN, LOW, MIDDLE, HIGH, HIGHEST = (
    RUN * slot for slot in range(12)
)
"""Places in the scratch of a run: sums of w, w x, w^2 v, w v (and its largest term), the number of
good inputs, the sum of 1 / sigma, the number of good inputs that are excluded; then quartiles,
median and largest value."""
SCRATCH: Final = 12 * RUN

IQR_TO_SIGMA: Final = 0.7413
_INFINITE: Final = np.float32(np.inf)


@njit(cache=True, nogil=True)
def _take_values(
    flux: Image, variance: Image, mask: Mask, weight: np.float32, values: Image, units: Image
) -> tuple[int, int]:
    """The good values of one input's run (others infinite), and w v (others 0).

    Returns the OR of the mask and the number of good values.
    """
    seen, count = np.int32(0), np.int32(0)
    for x in range(flux.size):
        value, noise, here = flux[x], variance[x], mask[x]
        good = (here & np.int32(LEFT_OUT)) == 0
        good &= (noise > np.float32(0.0)) & (noise < _INFINITE)
        good &= abs(value) < _INFINITE
        values[x] = value if good else _INFINITE
        units[x] = weight * noise if good else np.float32(0.0)
        seen = np.int32(seen | here)
        count = np.int32(count + np.int32(good))
    return int(seen), int(count)


@njit(cache=True, nogil=True)
def _sum_values(values: Image, units: Image, weight: np.float32, work: Image) -> None:
    """Add one input's run to the sums."""
    for x in range(values.size):
        good = values[x] < _INFINITE
        used = weight if good else np.float32(0.0)
        work[TOTAL + x] += used
        work[FIRST + x] += used * (values[x] if good else np.float32(0.0))
        work[SECOND + x] += weight * units[x]
        work[UNITS + x] += units[x]
        larger = units[x] > work[LARGEST + x]
        work[LARGEST + x] = units[x] if larger else work[LARGEST + x]
        work[COUNT + x] += np.float32(1.0) if good else np.float32(0.0)


@njit(cache=True, nogil=True)
def _sum_roots(units: Image, weight: np.float32, work: Image) -> None:
    """Add 1 / sigma of the good values of one input's run."""
    for x in range(units.size):
        if units[x] > np.float32(0.0):
            work[ROOTS + x] += np.sqrt(weight / units[x])


@njit(cache=True, nogil=True)
def _sort(values: Image, size: int, network: Places) -> None:
    """Sort every pixel's values, which lie RUN apart, by a sorting network."""
    for pair in range(network.shape[0]):
        low, high = network[pair, 0] * RUN, network[pair, 1] * RUN
        first, second = values[low : low + size], values[high : high + size]
        for x in range(size):
            a, b = first[x], second[x]
            first[x] = a if a < b else b
            second[x] = b if a < b else a


@njit(cache=True, nogil=True, inline="always")
def _place(count: int, fraction: float) -> tuple[int, int, np.float32]:
    """Between which of ``count`` sorted values a quantile lies, and what part of the way."""
    position = np.float32(fraction) * np.float32(count - 1)
    below = int(position)
    return below * RUN, min(below + 1, count - 1) * RUN, position - np.float32(below)


@njit(cache=True, nogil=True)
def _one_quantile(values: Image, count: int, fraction: float, result: Image) -> None:
    """A linear-interpolated quantile of consecutive pixels which all have ``count`` good values."""
    below, above, part = _place(count, fraction)
    low, high = values[below : below + result.size], values[above : above + result.size]
    for x in range(result.size):
        result[x] = low[x] + (high[x] - low[x]) * part


@njit(cache=True, nogil=True)
def _quartiles(values: Image, size: int, work: Image) -> None:
    """Quartiles, median and largest of the sorted values of every pixel with a good one."""
    start = 0
    while start < size:
        count, stop = work[COUNT + start], start + 1
        while stop < size and work[COUNT + stop] == count:
            stop += 1
        if count > np.float32(0.0):
            own, good = values[start:], int(count)
            for slot, fraction in ((LOW, 0.25), (MIDDLE, 0.5), (HIGH, 0.75), (HIGHEST, 1.0)):
                _one_quantile(own, good, fraction, work[slot + start : slot + stop])
        start = stop


@njit(cache=True, nogil=True)
def _count_hidden(flux: Image, variance: Image, mask: Mask, work: Image) -> int:
    """Count the good values of one input's run that are excluded, by pixel and in all."""
    count = 0
    for x in range(flux.size):
        good = mask[x] & UNUSABLE == 0 and np.isfinite(flux[x]) and np.isfinite(variance[x])
        if mask[x] & EXCLUDED != 0 and good and variance[x] > np.float32(0.0):
            work[HIDDEN + x] += np.float32(1.0)
            count += 1
    return count


@njit(cache=True, nogil=True)
def _gather_run(
    rows: Rows,
    y: int,
    x: int,
    weights: Image,
    medians: bool,
    values: Image,
    work: Image,
    clean: NDArray[np.bool_],
    counts: Places,
) -> int:
    """Values and sums of one run, from pixel (y, x) on; OR of all masks.

    ``clean`` (N,) tells of which inputs every value is good and the mask empty; ``counts`` (2, N)
    are raised by the good and the excluded pixels of each input.
    """
    work[:] = 0.0
    stop = min(x + RUN, rows[2])
    unit = np.empty(stop - x, dtype=np.float32)
    seen = np.int32(0)
    for n in range(weights.size):
        planes = plane_rows(rows, n)
        flux, variance, mask = planes[0][y, x:stop], planes[1][y, x:stop], planes[2][y, x:stop]
        own = values[n * RUN : n * RUN + stop - x]
        fetch_run(rows, n, y, x + RUN, RUN)
        here, good = _take_values(flux, variance, mask, weights[n], own, unit)
        clean[n] = here == 0 and good == stop - x
        counts[0, n] += good
        _sum_values(own, unit, weights[n], work)
        if medians:
            _sum_roots(unit, weights[n], work)
        if here & EXCLUDED != 0:
            counts[1, n] += _count_hidden(flux, variance, mask, work)
        seen |= here
    return int(seen)


@njit(cache=True, nogil=True)
def _blend_run(
    rows: Rows,
    y: int,
    x: int,
    seen: int,
    weights: Image,
    values: Image,
    work: Image,
    clean: NDArray[np.bool_],
    mask: Mask,
) -> None:
    """The masks of a run in which nothing is clipped; ``values`` are not sorted yet."""
    size = mask.size
    if seen == 0:
        for i in range(size):
            mask[i] = 0 if work[COUNT + i] > np.float32(0.0) else NO_DATA
        return
    told, sums = np.zeros((4, size), dtype=np.int32), np.zeros((2, size), dtype=np.float32)
    for n in range(weights.size):
        if clean[n]:
            gather_clean(weights[n], told, sums)
            continue
        planes = plane_rows(rows, n)
        gather_bits(
            planes[0][y, x : x + size],
            planes[1][y, x : x + size],
            planes[2][y, x : x + size],
            values[n * RUN : n * RUN + size],
            weights[n],
            told,
            sums,
        )
    blend_run(told, sums, mask)


@njit(cache=True, nogil=True, error_model="numpy")
def _mean_run(work: Image, flux: Image, variance: Image) -> None:
    for x in range(flux.size):
        inverse = np.float32(1.0) / work[TOTAL + x]
        flux[x] = work[FIRST + x] * inverse
        variance[x] = work[SECOND + x] * inverse * inverse
        if not work[TOTAL + x] > np.float32(0.0):
            flux[x] = variance[x] = np.float32(np.nan)


@njit(cache=True, nogil=True, error_model="numpy")
def _median_run(work: Image, flux: Image, variance: Image) -> None:
    for x in range(flux.size):
        count = work[COUNT + x]
        flux[x] = work[MIDDLE + x] if count > np.float32(0.0) else np.float32(np.nan)
        variance[x] = median_loss(int(count)) * count / (work[ROOTS + x] * work[ROOTS + x])


@njit(cache=True, nogil=True)
def median_loss(count: int) -> np.float32:
    """Variance of the median of normal values over that of their mean.

    From order statistics; the formulas follow the exact values for 1 to 20 to 0.3 %.
    """
    if count <= 2:
        return np.float32(1.0)
    lack = 0.68 / count if count % 2 == 1 else 2.2 / (count + 1.75)
    return np.float32(0.5 * np.pi - lack)


@njit(cache=True, nogil=True)
def combine_rows(
    start: int,
    stop: int,
    rows: Rows,
    weights: Image,
    network: Places,
    medians: bool,
    out: tuple[Image, Image, Mask, Mask],
    counts: Counts,
) -> None:
    """Mean, or median, of the rows ``start <= y < stop`` with nothing clipped.

    ``out`` is flux, variance, mask and number of good inputs; ``counts`` (ny, 2, N) are raised by
    each input's good and excluded pixels in a row. ``weights`` are relative: their
    largest is 1.
    """
    values = np.empty(weights.size * RUN, dtype=np.float32)
    work = np.empty(SCRATCH, dtype=np.float32)
    clean = np.empty(weights.size, dtype=np.bool_)
    for y in range(start, stop):
        for x in range(0, rows[2], RUN):
            end = min(x + RUN, rows[2])
            seen = _gather_run(rows, y, x, weights, medians, values, work, clean, counts[y])
            _blend_run(rows, y, x, seen, weights, values, work, clean, out[2][y, x:end])
            flux, variance = out[0][y, x:end], out[1][y, x:end]
            if medians:
                _sort(values, end - x, network)
                _quartiles(values, end - x, work)
                _median_run(work, flux, variance)
            else:
                _mean_run(work, flux, variance)
            for i in range(end - x):
                out[3][y, x + i] = int(work[COUNT + i] + work[HIDDEN + i])


@njit(cache=True, nogil=True, error_model="numpy")
def _centre_run(
    values: Image, work: Image, sky: np.float32, least: np.float32, planes: Run
) -> None:
    """Fill ``planes`` (middle, scatter, unit, farthest, bright) for one run, as
    :func:`centre_rows` says; ``least`` is 1 / the sum of weights."""
    middle, scatter, unit, farthest, bright = planes
    for x in range(middle.size):
        count = work[COUNT + x]
        lower, upper = values[x], work[HIGHEST + x]
        centre = lower if count == np.float32(2.0) else work[MIDDLE + x]
        many = count > np.float32(3.0)
        spread = np.float32(IQR_TO_SIGMA) * (work[HIGH + x] - work[LOW + x])
        others = (work[UNITS + x] - work[LARGEST + x]) / (count - np.float32(1.0))
        noise = others if count > np.float32(1.0) else work[UNITS + x]
        known = count > np.float32(0.0)
        middle[x] = centre if known else np.float32(np.nan)
        scatter[x] = spread if many else np.float32(0.0)
        unit[x] = noise
        farthest[x] = max(upper - centre, centre - lower) if known else np.float32(0.0)
        above = abs(centre - sky) - np.float32(3.0) * np.sqrt(noise * least)
        bright[x] = above if known and above > np.float32(0.0) else np.float32(0.0)


@njit(cache=True, nogil=True)
def far_limits(clip_sigma: float, weights: Image) -> tuple[np.float32, np.float32]:
    """The limits of :func:`is_far`."""
    square = clip_sigma * clip_sigma
    least = (1.0 / weights).min() + 1.0 / weights.sum()
    return np.float32(square), np.float32(square * least)


@njit(cache=True, nogil=True, inline="always")
def is_far(
    away: np.float32, scatter: np.float32, unit: np.float32, limits: tuple[np.float32, np.float32]
) -> bool:
    """Whether the farthest value may be too far ``away``: farther than the scatter allows, and
    than the noise expected of the input of the largest weight does."""
    far = away * away
    return bool(away > 0.0 and far > limits[0] * scatter * scatter and far > limits[1] * unit)


@njit(cache=True, nogil=True)
def _suspect_run(
    planes: Run, limits: tuple[np.float32, np.float32], y: int, start: int, suspects: Suspects
) -> None:
    """Note the pixels of a run, which begins at column ``start``, that may have to be clipped."""
    found, places, numbers = suspects
    number = found[y]
    for x in range(planes[0].size):
        if is_far(planes[3][x], planes[1][x], planes[2][x], limits):
            places[y, number] = start + x
            for k in range(4):
                numbers[y, k, number] = planes[k][x]
            number += 1
    found[y] = number


@njit(cache=True, nogil=True)
def centre_rows(
    start: int,
    stop: int,
    rows: Rows,
    weights: Image,
    network: Places,
    levels: tuple[float, float],
    suspects: Suspects,
    bright: tuple[Image, Image],
    out: tuple[Image, Image, Mask, Mask],
    counts: Counts,
) -> None:
    """As :func:`combine_rows` for the mean, and with it where values lie.

    Of every pixel that may have to be clipped ``suspects`` are told: the median (lower value of
    two); the interquartile scatter (0 for less than four values); the mean of w v, the largest
    left out, as an input's own variance may have been raised by what hit it: times 1/w this is the
    noise expected of an input; how far the farthest value lies from the median. ``bright`` are
    the median of every pixel, NaN without a good input, and by how much its distance from the sky
    exceeds three times its noise. ``levels`` are the sky and the number of deviations at which
    values are clipped.
    """
    values = np.empty(weights.size * RUN, dtype=np.float32)
    work = np.empty(SCRATCH, dtype=np.float32)
    clean = np.empty(weights.size, dtype=np.bool_)
    own = np.empty((3, RUN), dtype=np.float32)
    sky, least = np.float32(levels[0]), np.float32(1.0) / weights.sum()
    limits = far_limits(levels[1], weights)
    for y in range(start, stop):
        suspects[0][y] = 0
        for x in range(0, rows[2], RUN):
            end = min(x + RUN, rows[2])
            seen = _gather_run(rows, y, x, weights, False, values, work, clean, counts[y])
            _blend_run(rows, y, x, seen, weights, values, work, clean, out[2][y, x:end])
            _sort(values, end - x, network)
            _quartiles(values, end - x, work)
            _mean_run(work, out[0][y, x:end], out[1][y, x:end])
            for i in range(end - x):
                out[3][y, x + i] = int(work[COUNT + i] + work[HIDDEN + i])
            run = (bright[0][y, x:end], own[0], own[1], own[2], bright[1][y, x:end])
            _centre_run(values, work, sky, least, run)
            _suspect_run(run, limits, y, x, suspects)

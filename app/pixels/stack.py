"""Compiled kernels of :mod:`app.pixels.coadd`: many inputs' rows at once, some pixels at a time.

A run of RUN pixels of every input fits the first-level cache: its sums, and the comparators of a
sorting network, are plain loops over the run that compilers turn into vector instructions. Each
pixel is computed on its own, in one order, in float32: results depend neither on how rows are cut
into bands nor on the threads that run them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from llvmlite import ir
from numba import carray, njit, types
from numba.extending import intrinsic
from numpy.typing import NDArray

from app.pixels.image import UNUSABLE, MaskedImage, bits

Image = NDArray[np.float32]
Mask = NDArray[np.int32]
Places = NDArray[np.int64]
Counts = NDArray[np.int64]
Rows = tuple[Places, int, int]
"""Where inputs lie: addresses (3, N) of flux, variance (float32) and mask (int32) planes, each
C-contiguous of the rows and columns that follow. Whoever calls keeps the planes alive."""

Run = tuple[Image, Image, Image, Image, Image]
Centres = Run
"""The planes of :func:`centre_rows`."""

RUN: Final = 128
TOTAL, FIRST, SECOND, UNITS, LARGEST, COUNT, ROOTS, HIDDEN, LOW, MIDDLE, HIGH = (
    RUN * slot for slot in range(11)
)
"""Places in the scratch of a run: sums of w, w x, w^2 v, w v (and its largest term), the number of
good inputs, the sum of 1 / sigma, the number of good inputs that are excluded; then quartiles and
median."""
SCRATCH: Final = 11 * RUN

NO_DATA: Final = bits("NO_DATA")
EDGE: Final = bits("EDGE")
SAT: Final = bits("SAT")
CLIPPED: Final = bits("CLIPPED")
REJECTED: Final = bits("REJECTED")
SENSOR_EDGE: Final = bits("SENSOR_EDGE")
INEXACT_PSF: Final = bits("INEXACT_PSF")
REJECTING: Final = UNUSABLE & ~(NO_DATA | EDGE)
"""Planes whose rejection is told as REJECTED; that of EDGE is told as SENSOR_EDGE."""
EXCLUDED: Final = 1 << 30
"""Private mark, never in a result: a pixel that is left out of its input as if clipped."""
LEFT_OUT: Final = UNUSABLE | EXCLUDED
SAT_FRACTION: Final = 0.1
"""A pixel is SAT when more than this share of its weight was rejected as SAT."""
IQR_TO_SIGMA: Final = 0.7413
_INFINITE: Final = np.float32(np.inf)


@intrinsic
def _floats_at(_context: Any, address: Any) -> Any:
    """An address as a pointer to float32."""
    return types.CPointer(types.float32)(address), _as_pointer(ir.FloatType())


@intrinsic
def _masks_at(_context: Any, address: Any) -> Any:
    """An address as a pointer to int32."""
    return types.CPointer(types.int32)(address), _as_pointer(ir.IntType(32))


def _as_pointer(kind: Any) -> Any:
    def write(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], kind.as_pointer())

    return write


def rows_of(planes: Sequence[MaskedImage]) -> Rows:
    """Where images of one shape lie; their planes must be C-contiguous and of those types."""
    names = ("flux", "variance", "mask")
    places = [[getattr(each, name).ctypes.data for each in planes] for name in names]
    return np.array(places, dtype=np.int64), *planes[0].shape


@njit(cache=True, nogil=True)
def plane_rows(rows: Rows, n: int) -> tuple[Image, Image, Mask]:
    """Flux, variance and mask of one input."""
    places, ny, nx = rows
    return (
        carray(_floats_at(places[0, n]), (ny, nx)),
        carray(_floats_at(places[1, n]), (ny, nx)),
        carray(_masks_at(places[2, n]), (ny, nx)),
    )


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
        seen |= here
        count += np.int32(good)
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
def _one_quantile(values: Image, size: int, count: int, fraction: float, result: Image) -> None:
    """A linear-interpolated quantile of every pixel of a run whose inputs are all good."""
    below, above, part = _place(count, fraction)
    low, high = values[below : below + size], values[above : above + size]
    for x in range(size):
        result[x] = low[x] + (high[x] - low[x]) * part


@njit(cache=True, nogil=True)
def _quartiles(values: Image, size: int, inputs: int, work: Image) -> None:
    """Quartiles and median of every pixel with a good value."""
    least = work[COUNT : COUNT + size].min()
    for slot, fraction in ((LOW, 0.25), (MIDDLE, 0.5), (HIGH, 0.75)):
        if least == inputs:
            _one_quantile(values, size, inputs, fraction, work[slot : slot + size])
            continue
        for x in range(size):
            if work[COUNT + x] > np.float32(0.0):
                below, above, part = _place(int(work[COUNT + x]), fraction)
                low = values[below + x]
                work[slot + x] = low + (values[above + x] - low) * part


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
    counts: Places,
) -> int:
    """Values and sums of one run, from pixel (y, x) on; OR of all masks.

    ``counts`` (2, N) are raised by the good and the excluded pixels of each input.
    """
    work[:] = 0.0
    stop = min(x + RUN, rows[2])
    unit = np.empty(stop - x, dtype=np.float32)
    seen = np.int32(0)
    for n in range(weights.size):
        planes = plane_rows(rows, n)
        flux, variance, mask = planes[0][y, x:stop], planes[1][y, x:stop], planes[2][y, x:stop]
        own = values[n * RUN : n * RUN + stop - x]
        here, good = _take_values(flux, variance, mask, weights[n], own, unit)
        counts[0, n] += good
        _sum_values(own, unit, weights[n], work)
        if medians:
            _sum_roots(unit, weights[n], work)
        if here & EXCLUDED != 0:
            counts[1, n] += _count_hidden(flux, variance, mask, work)
        seen |= here
    return int(seen)


@njit(cache=True, nogil=True)
def blend_mask(rows: Rows, y: int, x: int, weights: Image, clipped: NDArray[np.bool_]) -> int:
    """The mask of one pixel from those of its inputs; ``clipped`` ones are left out."""
    seen, lost, flags = np.int32(0), np.int32(0), np.int32(0)
    with_data, saturated = np.float32(0.0), np.float32(0.0)
    used = False
    for n in range(weights.size):
        flux, variance, mask = plane_rows(rows, n)
        here = mask[y, x]
        noise = variance[y, x]
        finite = np.isfinite(flux[y, x]) and np.isfinite(noise) and noise > 0.0
        if here & NO_DATA == 0:
            with_data += weights[n]
        if here & UNUSABLE != 0 or not finite:
            lost |= here & ~(NO_DATA | EDGE | EXCLUDED)
            saturated += weights[n] if here & SAT != 0 else np.float32(0.0)
            flags |= REJECTED if here & REJECTING != 0 else 0
            flags |= SENSOR_EDGE if here & EDGE != 0 else 0
        elif clipped[n] or here & EXCLUDED != 0:
            flags |= CLIPPED
        else:
            used = True
            seen |= here
    flags |= INEXACT_PSF if flags != 0 else 0
    if not used:
        return int(lost | flags | NO_DATA)
    return int(seen | flags | (SAT if saturated > SAT_FRACTION * with_data else 0))


@njit(cache=True, nogil=True)
def _blend_run(
    rows: Rows, y: int, x: int, size: int, seen: int, weights: Image, work: Image, mask: Mask
) -> None:
    """The masks of a run in which nothing is clipped."""
    if seen == 0:
        for i in range(size):
            mask[i] = 0 if work[COUNT + i] > np.float32(0.0) else NO_DATA
        return
    nothing = np.zeros(weights.size, dtype=np.bool_)
    for i in range(size):
        mask[i] = blend_mask(rows, y, x + i, weights, nothing)


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
    for y in range(start, stop):
        for x in range(0, rows[2], RUN):
            end = min(x + RUN, rows[2])
            seen = _gather_run(rows, y, x, weights, medians, values, work, counts[y])
            flux, variance = out[0][y, x:end], out[1][y, x:end]
            if medians:
                _sort(values, end - x, network)
                _quartiles(values, end - x, weights.size, work)
                _median_run(work, flux, variance)
            else:
                _mean_run(work, flux, variance)
            _blend_run(rows, y, x, end - x, seen, weights, work, out[2][y, x:end])
            for i in range(end - x):
                out[3][y, x + i] = int(work[COUNT + i] + work[HIDDEN + i])


@njit(cache=True, nogil=True, error_model="numpy")
def _centre_run(
    values: Image, work: Image, sky: np.float32, least: np.float32, planes: Run
) -> None:
    """Fill the planes of :func:`centre_rows` for one run; ``least`` is 1 / the sum of weights."""
    middle, scatter, unit, farthest, bright = planes
    for x in range(middle.size):
        count = work[COUNT + x]
        last = (int(count) - 1) * RUN + x if count > np.float32(0.0) else x
        lower = values[x]
        centre = lower if count == np.float32(2.0) else work[MIDDLE + x]
        many = count > np.float32(3.0)
        spread = np.float32(IQR_TO_SIGMA) * (work[HIGH + x] - work[LOW + x])
        others = (work[UNITS + x] - work[LARGEST + x]) / (count - np.float32(1.0))
        noise = others if count > np.float32(1.0) else work[UNITS + x]
        known = count > np.float32(0.0)
        middle[x] = centre if known else np.float32(np.nan)
        scatter[x] = spread if many else np.float32(0.0)
        unit[x] = noise
        farthest[x] = max(values[last] - centre, centre - lower) if known else np.float32(0.0)
        above = abs(centre - sky) - np.float32(3.0) * np.sqrt(noise * least)
        bright[x] = above if known and above > np.float32(0.0) else np.float32(0.0)


@njit(cache=True, nogil=True)
def centre_rows(
    start: int,
    stop: int,
    rows: Rows,
    weights: Image,
    network: Places,
    sky: np.float32,
    centres: Centres,
    out: tuple[Image, Image, Mask, Mask],
    counts: Counts,
) -> None:
    """As :func:`combine_rows` for the mean, and with it where values lie.

    ``centres`` are: the median (lower value of two), NaN without a good input; the interquartile
    scatter (0 for less than four values); the mean of w v, the largest left out, as an input's own
    variance may have been raised by what hit it: times 1/w this is the noise expected of an input;
    how far the farthest value lies from the median; by how much the median's distance from ``sky``
    exceeds three times its noise.
    """
    values = np.empty(weights.size * RUN, dtype=np.float32)
    work = np.empty(SCRATCH, dtype=np.float32)
    least = np.float32(1.0) / weights.sum()
    for y in range(start, stop):
        for x in range(0, rows[2], RUN):
            end = min(x + RUN, rows[2])
            seen = _gather_run(rows, y, x, weights, False, values, work, counts[y])
            _sort(values, end - x, network)
            _quartiles(values, end - x, weights.size, work)
            _mean_run(work, out[0][y, x:end], out[1][y, x:end])
            _blend_run(rows, y, x, end - x, seen, weights, work, out[2][y, x:end])
            for i in range(end - x):
                out[3][y, x + i] = int(work[COUNT + i] + work[HIDDEN + i])
            run = (
                centres[0][y, x:end],
                centres[1][y, x:end],
                centres[2][y, x:end],
                centres[3][y, x:end],
                centres[4][y, x:end],
            )
            _centre_run(values, work, sky, least, run)

"""Compiled kernels that leave values out of a stack which lie too far from the others."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from app.pixels.blend import LEFT_OUT, blend_mask
from app.pixels.placed import Image, Mask, Rows, plane_rows
from app.pixels.stack import Centres

Floats = NDArray[np.float64]


@njit(cache=True, nogil=True)
def shelter_rows(
    start: int, stop: int, bright: Image, reach: int, share: float, shelter: Image
) -> None:
    """``share`` times the largest of ``bright`` within a square of ``reach`` pixels around.

    Row y of ``bright`` is row y of ``shelter``; squares end at the planes' borders.
    """
    ny, nx = bright.shape
    tallest = np.empty(nx, dtype=np.float32)
    for y in range(start, stop):
        tallest[:] = 0.0
        for row in range(max(0, y - reach), min(ny, y + reach + 1)):
            line = bright[row]
            for x in range(nx):
                tallest[x] = line[x] if line[x] > tallest[x] else tallest[x]
        target = shelter[y]
        target[:] = 0.0
        for shift in range(-reach, reach + 1):
            first, last = max(0, -shift), min(nx, nx - shift)
            to, near = target[first:last], tallest[first + shift : last + shift]
            for x in range(to.size):
                to[x] = near[x] if near[x] > to[x] else to[x]
        for x in range(nx):
            target[x] *= np.float32(share)


@njit(cache=True, nogil=True)
def _read_pixel(
    rows: Rows, y: int, x: int, weights: Image, values: Floats, noises: Floats
) -> float:
    """Value and variance of every input at a pixel, NaN where it is not good; the weight of those
    that are."""
    total = 0.0
    for n in range(values.size):
        flux, variance, mask = plane_rows(rows, n)
        value, noise = flux[y, x], variance[y, x]
        good = mask[y, x] & LEFT_OUT == 0 and np.isfinite(value) and np.isfinite(noise)
        good = good and noise > 0.0
        values[n] = value if good else np.nan
        noises[n] = noise if good else np.nan
        total += weights[n] if good else 0.0
    return total


@njit(cache=True, nogil=True)
def _clip_once(
    values: Floats,
    weights: Image,
    noise: Floats,
    spread: float,
    limits: tuple[float, float],
    middle: float,
    clipped: NDArray[np.bool_],
) -> tuple[float, float, bool]:
    """Clip one pixel's values around ``middle``; returns (weight kept, their mean, any change)."""
    total, first, changed = 0.0, 0.0, False
    for n in range(values.size):
        if not np.isnan(values[n]):
            away = values[n] - middle
            out = abs(away) > limits[0] * max(noise[n], spread) + limits[1]
            changed |= out != clipped[n]
            clipped[n] = out
            if not out:
                total += weights[n]
                first += weights[n] * away
    return total, middle + first / total if total > 0.0 else middle, changed


@njit(cache=True, nogil=True)
def _clip_pixel(
    values: Floats,
    weights: Image,
    noise: Floats,
    start: tuple[float, float],
    limits: tuple[float, float],
    iterations: int,
    clipped: NDArray[np.bool_],
) -> bool:
    """Clip one pixel's values; ``start`` is the first centre and scatter, ``limits`` are the number
    of deviations and the shelter. True when something is clipped."""
    middle, spread = start
    clipped[:] = False
    for _ in range(iterations):
        total, mean, changed = _clip_once(values, weights, noise, spread, limits, middle, clipped)
        if total == 0.0:
            clipped[:] = False
            return False
        if not changed:
            break
        second = 0.0
        for n in range(values.size):
            if not (np.isnan(values[n]) or clipped[n]):
                second += weights[n] * (values[n] - mean) ** 2
        middle, spread = mean, np.sqrt(second / total)
    return bool(clipped.any())


@njit(cache=True, nogil=True)
def _mean_of_kept(
    values: Floats, noises: Floats, weights: Image, clipped: NDArray[np.bool_]
) -> tuple[float, float]:
    total, first, second = 0.0, 0.0, 0.0
    for n in range(values.size):
        if not (np.isnan(values[n]) or clipped[n]):
            total += weights[n]
            first += weights[n] * values[n]
            second += weights[n] * weights[n] * noises[n]
    return first / total, second / (total * total)


@njit(cache=True, nogil=True)
def clip_rows(
    start: int,
    stop: int,
    rows: Rows,
    weights: Image,
    centres: Centres,
    shelter: Image,
    clip_sigma: float,
    iterations: int,
    out: tuple[Image, Image, Mask],
    counts: NDArray[np.int64],
) -> None:
    """Correct flux, variance and mask where values are too far from the others.

    A value is too far when ``|x - c| > clip_sigma * max(expected noise, scatter) + shelter``; the
    expected noise is that of the value and of the mean together. c and scatter are those given in
    the first iteration, then the weighted mean of the kept values and their weighted standard
    deviation; the shelter keeps star cores whose inputs differ in seeing. When every value would
    go none does. ``counts`` (ny, N) is raised by the number of pixels clipped in each row.
    """
    inverse = 1.0 / weights.astype(np.float64)
    least = inverse.min() + 1.0 / weights.sum()
    values, noises, expected = (
        np.empty(weights.size),
        np.empty(weights.size),
        np.empty(weights.size),
    )
    clipped = np.zeros(weights.size, dtype=np.bool_)
    for y in range(start, stop):
        for x in range(rows[2]):
            apart = centres[3][y, x] - shelter[y, x]
            if not (apart > 0.0 and apart * apart > clip_sigma**2 * centres[2][y, x] * least):
                continue
            total = _read_pixel(rows, y, x, weights, values, noises)
            if total == 0.0:
                continue
            for n in range(values.size):
                expected[n] = np.sqrt(centres[2][y, x] * (inverse[n] + 1.0 / total))
            first = (float(centres[0][y, x]), float(centres[1][y, x]))
            limits = (clip_sigma, float(shelter[y, x]))
            if _clip_pixel(values, weights, expected, first, limits, iterations, clipped):
                out[0][y, x], out[1][y, x] = _mean_of_kept(values, noises, weights, clipped)
                out[2][y, x] = blend_mask(rows, y, x, weights, clipped)
                for n in range(values.size):
                    counts[y, n] += clipped[n]

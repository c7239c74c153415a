"""Compiled kernels that leave values out of a stack which lie too far from the others.

The pixels in question are few and lie apart: LANES of them are brought side by side, every input's
values in a line, and clipped together by plain loops that compilers turn into vector instructions.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numba import njit

from app.pixels.blend import LEFT_OUT, blend_run, gather_bits
from app.pixels.placed import Image, Mask, Places, Rows, plane_rows
from app.pixels.stack import Suspects, far_limits, is_far

LANES: Final = 64
"""Pixels that are clipped at a time."""
MIDDLE, SPREAD, UNIT, SHELTER, MEAN_NOISE, ACTIVE, SPARED, KEPT, FIRST, SECOND, MOVED = range(11)
"""Rows of the state of LANES pixels: where values are clipped around, their squared scatter, the
noise that :data:`app.pixels.stack.Suspects` tells, the shelter, the squared noise of the mean; 1
while clipping goes on, 1 where all values would go; then sums."""
_STATE: Final = 11

Lanes = tuple[Image, Image, Mask, Image, Mask]
"""Of LANES pixels, each (N, LANES): flux, variance and mask as they are, the values that are good
(others infinite), and 1 where a value is clipped."""

_INFINITE: Final = np.float32(np.inf)
_ZERO: Final = np.float32(0.0)
_ONE: Final = np.float32(1.0)


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
def _take_lanes(rows: Rows, spots: Places, weights: Image, lanes: Lanes, state: Image) -> None:
    """Bring the pixels at ``spots`` (2, m; y and x) side by side; tell the noise of their means."""
    size = spots.shape[1]
    total = np.zeros(size, dtype=np.float32)
    for n in range(weights.size):
        flux, variance, mask = plane_rows(rows, n)
        fluxes, noises, masks, values = lanes[0][n], lanes[1][n], lanes[2][n], lanes[3][n]
        for j in range(size):
            y, x = spots[0, j], spots[1, j]
            fluxes[j], noises[j], masks[j] = flux[y, x], variance[y, x], mask[y, x]
        for j in range(size):
            good = (masks[j] & np.int32(LEFT_OUT)) == 0
            good &= (noises[j] > _ZERO) & (noises[j] < _INFINITE) & (abs(fluxes[j]) < _INFINITE)
            values[j] = fluxes[j] if good else _INFINITE
            total[j] += weights[n] if good else _ZERO
        lanes[4][n] = 0
    for j in range(size):
        state[ACTIVE, j] = _ONE if total[j] > _ZERO else _ZERO
        state[MEAN_NOISE, j] = state[UNIT, j] / total[j] if total[j] > _ZERO else _ZERO
        state[SPARED, j] = _ZERO


@njit(cache=True, nogil=True)
def _clip_lanes(size: int, weights: Image, limit: np.float32, lanes: Lanes, state: Image) -> None:
    """Clip every lane that is active around its middle; sum what is kept. ``limit`` is the square
    of the number of deviations."""
    middle, spread, unit, shelter = state[MIDDLE], state[SPREAD], state[UNIT], state[SHELTER]
    mean_noise, active, moved = state[MEAN_NOISE], state[ACTIVE], state[MOVED]
    kept, first = state[KEPT], state[FIRST]
    kept[:], first[:], moved[:] = _ZERO, _ZERO, _ZERO
    for n in range(weights.size):
        values, clipped = lanes[3][n], lanes[4][n]
        weight, inverse = weights[n], _ONE / weights[n]
        for j in range(size):
            away = values[j] - middle[j]
            over = abs(away) - shelter[j]
            noise = unit[j] * inverse + mean_noise[j]
            noise = noise if noise > spread[j] else spread[j]
            far = (over > _ZERO) & (over * over > limit * noise)
            good = values[j] < _INFINITE
            before = clipped[j]
            now = np.int32(good & far) if active[j] > _ZERO else before
            moved[j] = _ONE if now != before else moved[j]
            clipped[j] = now
            stays = good & (now == 0)
            kept[j] += weight if stays else _ZERO
            first[j] += weight * away if stays else _ZERO


@njit(cache=True, nogil=True, error_model="numpy")
def _centre_lanes(size: int, weights: Image, lanes: Lanes, state: Image) -> bool:
    """The mean and scatter of what is kept, for lanes that go on; whether there is any."""
    second, middle = state[SECOND], state[MIDDLE]
    going = False
    for j in range(size):
        none = (state[ACTIVE, j] > _ZERO) & (state[KEPT, j] == _ZERO)
        state[SPARED, j] = _ONE if none else state[SPARED, j]
        goes = (state[ACTIVE, j] > _ZERO) & (not none) & (state[MOVED, j] > _ZERO)
        state[ACTIVE, j] = _ONE if goes else _ZERO
        middle[j] += state[FIRST, j] / state[KEPT, j] if goes else _ZERO
        going |= goes
    second[:] = _ZERO
    for n in range(weights.size):
        values, clipped = lanes[3][n], lanes[4][n]
        for j in range(size):
            away = values[j] - middle[j]
            stays = (values[j] < _INFINITE) & (clipped[j] == 0)
            second[j] += weights[n] * away * away if stays else _ZERO
    for j in range(size):
        state[SPREAD, j] = second[j] / state[KEPT, j]
    return going


@njit(cache=True, nogil=True)
def _leave_out(size: int, weights: Image, lanes: Lanes, state: Image, counts: Places) -> None:
    """Make clipped values infinite, count them, and sum those that are kept, around the middle."""
    middle, spared, kept = state[MIDDLE], state[SPARED], state[KEPT]
    first, second, moved = state[FIRST], state[SECOND], state[MOVED]
    kept[:], first[:], second[:], moved[:] = _ZERO, _ZERO, _ZERO, _ZERO
    for n in range(weights.size):
        noises, values, clipped = lanes[1][n], lanes[3][n], lanes[4][n]
        weight, number = weights[n], np.int32(0)
        for j in range(size):
            out = (clipped[j] != 0) & (spared[j] == _ZERO)
            number = np.int32(number + np.int32(out))
            moved[j] = _ONE if out else moved[j]
            values[j] = _INFINITE if out else values[j]
            stays = values[j] < _INFINITE
            kept[j] += weight if stays else _ZERO
            first[j] += weight * (values[j] - middle[j]) if stays else _ZERO
            second[j] += weight * weight * noises[j] if stays else _ZERO
        counts[n] += number


@njit(cache=True, nogil=True)
def _clip_spots(
    rows: Rows,
    spots: Places,
    weights: Image,
    clip: tuple[float, int],
    lanes: Lanes,
    state: Image,
    out: tuple[Image, Image, Mask],
    counts: Places,
) -> None:
    """Clip the pixels at ``spots`` (2, m) whose state tells where values lie; correct ``out``."""
    size, limit = spots.shape[1], np.float32(clip[0] * clip[0])
    _take_lanes(rows, spots, weights, lanes, state)
    for turn in range(clip[1]):
        _clip_lanes(size, weights, limit, lanes, state)
        if not _centre_lanes(size, weights, lanes, state) or turn == clip[1] - 1:
            break
    _leave_out(size, weights, lanes, state, counts)
    told, sums = np.zeros((4, size), dtype=np.int32), np.zeros((2, size), dtype=np.float32)
    masks = np.empty(size, dtype=np.int32)
    for n in range(weights.size):
        gather_bits(
            lanes[0][n, :size],
            lanes[1][n, :size],
            lanes[2][n, :size],
            lanes[3][n, :size],
            weights[n],
            told,
            sums,
        )
    blend_run(told, sums, masks)
    for j in range(size):
        if state[MOVED, j] > _ZERO:
            y, x, total = spots[0, j], spots[1, j], state[KEPT, j]
            out[0][y, x] = state[MIDDLE, j] + state[FIRST, j] / total
            out[1][y, x] = state[SECOND, j] / (total * total)
            out[2][y, x] = masks[j]


@njit(cache=True, nogil=True)
def clip_rows(
    start: int,
    stop: int,
    rows: Rows,
    weights: Image,
    suspects: Suspects,
    shelter: Image,
    clip: tuple[float, int],
    out: tuple[Image, Image, Mask],
    counts: Places,
) -> None:
    """Correct flux, variance and mask where values are too far from the others.

    A value is too far when ``|x - c| > clip_sigma * max(expected noise, scatter) + shelter``; the
    expected noise is that of the value and of the mean together. c and scatter are those given in
    the first iteration, then the weighted mean of the kept values and their weighted standard
    deviation; the shelter keeps star cores whose inputs differ in seeing. When every value would
    go none does. ``clip`` is clip_sigma and the number of iterations; ``counts`` (N,) are raised
    by the number of pixels clipped.
    """
    found, places, numbers = suspects
    limits = far_limits(clip[0], weights)
    shape = (weights.size, LANES)
    lanes = (
        np.empty(shape, dtype=np.float32),
        np.empty(shape, dtype=np.float32),
        np.empty(shape, dtype=np.int32),
        np.empty(shape, dtype=np.float32),
        np.empty(shape, dtype=np.int32),
    )
    state = np.empty((_STATE, LANES), dtype=np.float32)
    spots, size = np.empty((2, LANES), dtype=np.int64), 0
    for y in range(start, stop):
        for k in range(found[y]):
            x, scatter, unit = places[y, k], numbers[y, 1, k], numbers[y, 2, k]
            if not is_far(numbers[y, 3, k] - shelter[y, x], scatter, unit, limits):
                continue
            spots[0, size], spots[1, size] = y, x
            state[MIDDLE, size], state[SPREAD, size] = numbers[y, 0, k], scatter * scatter
            state[UNIT, size], state[SHELTER, size] = unit, shelter[y, x]
            size += 1
            if size == LANES:
                _clip_spots(rows, spots, weights, clip, lanes, state, out, counts)
                size = 0
    if size > 0:
        _clip_spots(rows, spots[:, :size], weights, clip, lanes, state, out, counts)

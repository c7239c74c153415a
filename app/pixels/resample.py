"""The compiled row kernels of :mod:`app.pixels.warp`."""

from __future__ import annotations

from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from app.pixels.image import bits
from app.pixels.stencil import PHASES
from app.pixels.taps import tap_sums

Image = NDArray[np.float32]
Mask = NDArray[np.int32]
Nodes = NDArray[np.float64]
Planes = tuple[Image, Image, Mask]
"""Flux, variance and mask of one shape."""
Segment = tuple[float, float, float, float]
"""What :func:`_segment` tells of one coordinate along one row of one cell of a map."""

NO_DATA: Final = bits("NO_DATA")
EDGE: Final = bits("EDGE")
LEAST_WEIGHT: Final = 0.3
"""A pixel whose present taps sum to less than this has too little data to be a value."""
UNDONE: Final = -1
"""Never in a result: a mask value that tells a pixel is still to be computed."""


@njit(cache=True, nogil=True, inline="always")
def _is_missing(flux: np.float32, variance: np.float32, mask: np.int32) -> bool:
    """True for a pixel without a value: it lends no tap."""
    finite = np.isfinite(flux) and np.isfinite(variance)
    return bool(not finite or variance <= np.float32(0.0) or mask & NO_DATA != 0)


@njit(cache=True, nogil=True)
def mark_blocks(start: int, stop: int, planes: Planes, side: int, marks: NDArray[np.bool_]) -> None:
    """Fill rows ``start <= row < stop`` of ``marks``: True for blocks of ``side`` pixels in which
    one has a mask bit or no value."""
    flux, variance, mask = planes
    ny, nx = flux.shape
    for row in range(start, stop):
        marks[row] = False
        for y in range(row * side, min(ny, (row + 1) * side)):
            for column in range(-(-nx // side)):
                found = False
                for x in range(column * side, min(nx, (column + 1) * side)):
                    found |= _is_missing(flux[y, x], variance[y, x], mask[y, x])
                    found |= mask[y, x] != 0
                marks[row, column] |= found


@njit(cache=True, nogil=True, error_model="numpy")
def _segment(nodes: Nodes, y: int, x: int, step: int) -> tuple[float, float, float, float]:
    """One row of one cell of a map, from its left end (y, x), a multiple of the step in x.

    Position there, its slope along x, and the same of its derivative along y.
    """
    row, column, down = y // step, x // step, (y % step) / step
    up_left = nodes[row + 1, column] - nodes[row, column]
    up_right = nodes[row + 1, column + 1] - nodes[row, column + 1]
    left = nodes[row, column] + up_left * down
    right = nodes[row, column + 1] + up_right * down
    return left, (right - left) / step, up_left / step, (up_right - up_left) / (step * step)


@njit(cache=True, nogil=True, inline="always")
def _area(along_x: Segment, along_y: Segment, across: int) -> np.float32:
    """Source pixels per target pixel ``across`` pixels from the left of a segment."""
    twist = along_x[1] * (along_y[2] + along_y[3] * across)
    return np.float32(abs(twist - along_y[1] * (along_x[2] + along_x[3] * across)))


@njit(cache=True, nogil=True, inline="always")
def _phase(position: float, floor: int) -> tuple[int, np.float32]:
    """Row of the table and part of the way to the next."""
    phase = (position - floor) * PHASES
    entry = min(int(phase), PHASES - 1)
    return entry, np.float32(phase - entry)


@njit(cache=True, nogil=True)
def _partial(
    planes: Planes, at: tuple[float, float], table: Image, taps: int
) -> tuple[float, float, int]:
    """Flux, variance and mask at the position (y, x), tap by tap.

    When some taps are missing the rest is renormalised and EDGE or NO_DATA set.
    """
    flux, variance, mask = planes
    ny, nx = flux.shape
    floor_y, floor_x = int(np.floor(at[0])), int(np.floor(at[1]))
    y, x = floor_y - (taps // 2 - 1), floor_x - (taps // 2 - 1)
    entry_y, part_y = _phase(at[0], floor_y)
    entry_x, part_x = _phase(at[1], floor_x)
    value, noise, total, seen = 0.0, 0.0, 0.0, 0
    whole = y >= 0 and x >= 0 and y + taps <= ny and x + taps <= nx
    for j in range(max(0, -y), min(taps, ny - y)):
        low, high = table[entry_y, j], table[entry_y + 1, j]
        along_y = low + (high - low) * part_y
        for i in range(max(0, -x), min(taps, nx - x)):
            here = mask[y + j, x + i]
            seen |= here & ~NO_DATA
            if _is_missing(flux[y + j, x + i], variance[y + j, x + i], here):
                whole = False
                continue
            low, high = table[entry_x, i], table[entry_x + 1, i]
            weight = along_y * (low + (high - low) * part_x)
            total += weight
            value += weight * flux[y + j, x + i]
            noise += weight * weight * variance[y + j, x + i]
    if whole:
        return value, noise, seen
    near_y, near_x = int(np.floor(at[0] + 0.5)), int(np.floor(at[1] + 0.5))
    absent = _is_missing(flux[near_y, near_x], variance[near_y, near_x], mask[near_y, near_x])
    if absent or total < LEAST_WEIGHT:
        return np.nan, np.nan, seen | NO_DATA
    return value / total, noise / (total * total), seen | EDGE


@njit(cache=True, nogil=True)
def _nearest(planes: Planes, at: tuple[float, float]) -> tuple[float, float, int]:
    """Flux, variance and mask of the pixel that holds the position (y, x)."""
    flux, variance, mask = planes
    y, x = int(np.floor(at[0] + 0.5)), int(np.floor(at[1] + 0.5))
    if _is_missing(flux[y, x], variance[y, x], mask[y, x]):
        return np.nan, np.nan, mask[y, x] | NO_DATA
    return flux[y, x], variance[y, x], mask[y, x]


@njit(cache=True, nogil=True, error_model="numpy")
def _clean_segment(
    y: int,
    x_range: tuple[int, int],
    along_x: Segment,
    along_y: Segment,
    planes: Planes,
    marks: NDArray[np.bool_],
    shift: int,
    table: Image,
    taps: int,
    sky_and_scale: tuple[np.float32, np.float32],
    out: Planes,
) -> int:
    """Pixels of one cell row whose taps are all there and unflagged; how many are left to do.

    Those that are left have the mask UNDONE; pixels that map outside are done.
    """
    ny, nx = planes[0].shape
    before = taps // 2 - 1
    last_y, last_x = ny - taps, nx - table.shape[1]
    left = 0
    for x in range(x_range[0], x_range[1]):
        across = x - x_range[0]
        at_x, at_y = along_x[0] + along_x[1] * across, along_y[0] + along_y[1] * across
        if not (-0.5 <= at_x < nx - 0.5 and -0.5 <= at_y < ny - 0.5):
            out[0][y, x] = out[1][y, x] = np.nan
            out[2][y, x] = NO_DATA
            continue
        floor_y, floor_x = int(np.floor(at_y)), int(np.floor(at_x))
        first_y, first_x = floor_y - before, floor_x - before
        inside = 0 <= first_y <= last_y and 0 <= first_x <= last_x
        if not inside or marks[first_y >> shift, first_x >> shift]:
            out[2][y, x] = UNDONE
            left += 1
            continue
        entry_y, part_y = _phase(at_y, floor_y)
        entry_x, part_x = _phase(at_x, floor_x)
        value, noise = tap_sums(
            planes[0],
            planes[1],
            (first_y, first_x),
            table,
            (entry_y, entry_x),
            (part_y, part_x),
            taps,
        )
        factor = _area(along_x, along_y, across) * sky_and_scale[1]
        out[0][y, x] = (value - sky_and_scale[0]) * factor
        out[1][y, x] = noise * factor * factor
        out[2][y, x] = 0
    return left


@njit(cache=True, nogil=True, error_model="numpy")
def _other_pixels(
    y: int,
    x_range: tuple[int, int],
    along_x: Segment,
    along_y: Segment,
    planes: Planes,
    table: Image,
    taps: int,
    sky_and_scale: tuple[np.float32, np.float32],
    out: Planes,
) -> None:
    """The pixels of one cell row that :func:`_clean_segment` left."""
    for x in range(x_range[0], x_range[1]):
        if out[2][y, x] != UNDONE:
            continue
        across = x - x_range[0]
        at = (along_y[0] + along_y[1] * across, along_x[0] + along_x[1] * across)
        if taps == 1:
            value, noise, seen = _nearest(planes, at)
        else:
            value, noise, seen = _partial(planes, at, table, taps)
        factor = _area(along_x, along_y, across) * sky_and_scale[1]
        out[0][y, x] = (np.float32(value) - sky_and_scale[0]) * factor
        out[1][y, x] = np.float32(noise) * factor * factor
        out[2][y, x] = seen


@njit(cache=True, nogil=True)
def warp_rows(
    start: int,
    stop: int,
    step: int,
    nodes: tuple[Nodes, Nodes],
    planes: Planes,
    marks: NDArray[np.bool_],
    shift: int,
    table: Image,
    taps: int,
    sky_and_scale: tuple[np.float32, np.float32],
    out: Planes,
) -> None:
    """Rows ``start <= y < stop`` of a window of the target, whose pixel (0, 0) is the first node.

    ``nodes`` are source x and y ``step`` pixels apart; ``marks`` those of :func:`mark_blocks` for
    blocks of ``1 << shift`` pixels, no smaller than what :func:`tap_sums` reads, each joined with
    its neighbours to the right and above. ``table`` is padded; with ``taps`` 1 the nearest pixel
    is taken. Pixels that map outside the source are NaN and NO_DATA.
    """
    nx = out[0].shape[1]
    for x in range(0, nx, step):
        x_range = (x, min(x + step, nx))
        for y in range(start, stop):
            along_x, along_y = _segment(nodes[0], y, x, step), _segment(nodes[1], y, x, step)
            left = _clean_segment(
                y, x_range, along_x, along_y, planes, marks, shift, table, taps, sky_and_scale, out
            )
            if left > 0:
                _other_pixels(y, x_range, along_x, along_y, planes, table, taps, sky_and_scale, out)

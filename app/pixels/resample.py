"""The compiled row kernels of :mod:`app.pixels.warp`."""

from __future__ import annotations

from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from app.pixels.image import bits
from app.pixels.segments import Nodes, Segment, area_of, inner_part, place_windows, segment
from app.pixels.stencil import PHASES
from app.pixels.taps import sum_taps

Image = NDArray[np.float32]
Mask = NDArray[np.int32]
Line = NDArray[np.float32]
Planes = tuple[Image, Image, Mask]
"""Flux, variance and mask of one shape."""
OutRow = tuple[Line, Line, NDArray[np.int32]]
"""The same of one segment of a row."""
Level = tuple[np.float32, np.float32]
"""What is taken off, and what the rest is multiplied by."""
Scratch = tuple[NDArray[np.int64], Image, Image]
"""Places (the last two: first y and x of the windows), parts and sums of a segment's pixels."""

NO_DATA: Final = bits("NO_DATA")
EDGE: Final = bits("EDGE")
LEAST_WEIGHT: Final = 0.3
"""A pixel whose present taps sum to less than this has too little data to be a value."""
TILE_ROWS: Final = 32
TILE_COLUMNS: Final = 1024
"""Pixels are made in an area that stays in the second-level cache and leave it in long runs: cell
by cell to memory they take half as long again."""
UNDONE: Final = -1
"""Never in a result: a mask value that tells a pixel is still to be computed."""


@njit(cache=True, nogil=True, inline="always")
def _is_missing(flux: np.float32, variance: np.float32, mask: np.int32) -> bool:
    """True for a pixel without a value: it lends no tap."""
    limit = np.float32(np.inf)
    told = (abs(flux) < limit) & (variance > 0) & (variance < limit)
    return bool((not told) | (mask & NO_DATA != 0))


@njit(cache=True, nogil=True)
def pair_rows(
    start: int, stop: int, planes: Planes, side: int, pairs: Image, marks: NDArray[np.bool_]
) -> None:
    """Fill rows ``start <= row < stop`` of ``marks``: True for blocks of ``side`` pixels in which
    one has a mask bit or no value; and ``pairs`` with flux and variance of their pixels by turns,
    NaN where there is no value. Rows of ``pairs`` may be longer.
    """
    flux, variance, mask = planes
    ny, nx = flux.shape
    found, missing = np.empty(nx, dtype=np.bool_), np.empty(nx, dtype=np.bool_)
    for row in range(start, stop):
        found[:] = False
        for y in range(row * side, min(ny, (row + 1) * side)):
            target = pairs[y]
            for x in range(nx):
                missing[x] = _is_missing(flux[y, x], variance[y, x], mask[y, x])
                found[x] |= missing[x] | (mask[y, x] != 0)
            for x in range(nx):
                target[2 * x], target[2 * x + 1] = flux[y, x], variance[y, x]
            for x in range(nx if missing.any() else 0):
                if missing[x]:
                    target[2 * x] = target[2 * x + 1] = np.nan
        for column in range(-(-nx // side)):
            marks[row, column] = found[column * side : (column + 1) * side].any()


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


@njit(cache=True, nogil=True)
def _outer_pixels(
    along_x: Segment,
    along_y: Segment,
    shape: tuple[int, int],
    first: int,
    last: int,
    out: OutRow,
) -> int:
    """The pixels of a segment before ``first`` and from ``last`` on: NO_DATA where they map outside
    of ``shape``, else UNDONE; how many are that."""
    flux, variance, mask = out
    left = 0
    for place in range(first + mask.size - last):
        n = place if place < first else place - first + last
        y, x = along_y[0] + along_y[1] * n, along_x[0] + along_x[1] * n
        if -0.5 <= x < shape[1] - 0.5 and -0.5 <= y < shape[0] - 0.5:
            mask[n] = UNDONE
            left += 1
        else:
            flux[n] = variance[n] = np.nan
            mask[n] = NO_DATA
    return left


@njit(cache=True, nogil=True)
def _inner_pixels(
    along_x: Segment,
    along_y: Segment,
    part: tuple[int, int],
    bits_of: tuple[Mask, int],
    marks: Mask,
    shift: int,
    sky_and_scale: Level,
    scratch: Scratch,
    out: OutRow,
) -> int:
    """The sums of some pixels of a segment made values, and their masks those of their taps, by the
    source's mask and the number of taps; those with a tap missing become UNDONE, and how many they
    are is returned."""
    places, _, sums = scratch
    flux, variance = out[0][part[0] : part[1]], out[1][part[0] : part[1]]
    mask = out[2][part[0] : part[1]]
    for n in range(mask.size):
        factor = area_of(along_x, along_y, part[0] + n) * sky_and_scale[1]
        flux[n] = (sums[0, n] - sky_and_scale[0]) * factor
        variance[n] = sums[1, n] * factor * factor
        mask[n] = 0
    y, x, last = places[3], places[4], mask.size - 1
    low, high = min(y[0], y[last]) >> shift, max(y[0], y[last]) >> shift
    if not _is_marked(marks, low, min(x[0], x[last]) >> shift, high, max(x[0], x[last]) >> shift):
        return 0
    left = 0
    for n in range(mask.size):
        j, i = y[n] >> shift, x[n] >> shift
        if not _is_marked(marks, j, i, j, i):
            continue
        if np.isfinite(sums[0, n]) and np.isfinite(sums[1, n]):
            mask[n] = _bits_in(bits_of[0], y[n], x[n], bits_of[1])
        else:
            mask[n] = UNDONE
            left += 1
    return left


@njit(cache=True, nogil=True)
def _bits_in(mask: Mask, y: int, x: int, taps: int) -> int:
    """OR of a window of the mask."""
    seen = np.int32(0)
    for j in range(y, y + taps):
        for i in range(x, x + taps):
            seen |= mask[j, i]
    return int(seen)


@njit(cache=True, nogil=True, inline="always")
def _is_marked(marks: Mask, y: int, x: int, last_y: int, last_x: int) -> bool:
    """Whether a window that begins in one of the blocks (y, x) to (last_y, last_x) may touch a
    marked block; ``marks`` counts those above and to the left."""
    inside = marks[last_y + 2, last_x + 2] - marks[y, last_x + 2]
    return bool(inside - marks[last_y + 2, x] + marks[y, x] > 0)


@njit(cache=True, nogil=True, error_model="numpy")
def _other_pixels(
    along_x: Segment,
    along_y: Segment,
    planes: Planes,
    table: Image,
    taps: int,
    sky_and_scale: Level,
    out: OutRow,
) -> None:
    """The pixels of one cell row that are UNDONE."""
    flux, variance, mask = out
    for n in range(mask.size):
        if mask[n] != UNDONE:
            continue
        at = (along_y[0] + along_y[1] * n, along_x[0] + along_x[1] * n)
        if taps == 1:
            value, noise, seen = _nearest(planes, at)
        else:
            value, noise, seen = _partial(planes, at, table, taps)
        factor = area_of(along_x, along_y, n) * sky_and_scale[1]
        flux[n] = (np.float32(value) - sky_and_scale[0]) * factor
        variance[n] = np.float32(noise) * factor * factor
        mask[n] = seen


@njit(cache=True, nogil=True)
def _warp_tile(
    rows: tuple[int, int],
    columns: tuple[int, int],
    step: int,
    nodes: tuple[Nodes, Nodes],
    planes: Planes,
    pairs: Image,
    marks: Mask,
    shift: int,
    table: Image,
    taps: int,
    sky_and_scale: Level,
    scratch: Scratch,
    tile: Planes,
) -> None:
    """The half-open ``rows`` and ``columns`` of :func:`warp_rows`, from ``tile[0, 0]`` on."""
    (ny, nx), lanes = planes[0].shape, table.shape[1]
    before = taps // 2 - 1
    high = (ny - taps, nx - lanes) if taps > 1 else (-1, -1)
    pitch, flat = pairs.shape[1] // 2, (pairs.reshape(-1), table.reshape(-1))
    share = 1.0 / step
    for x in range(columns[0], columns[1], step):
        begin, end = x - columns[0], min(x + step, columns[1]) - columns[0]
        for y in range(rows[0], rows[1]):
            j, column, down = y // step, x // step, (y % step) * share
            along_x = segment(nodes[0], j, column, down, share)
            along_y = segment(nodes[1], j, column, down, share)
            line = y - rows[0]
            row = (tile[0][line, begin:end], tile[1][line, begin:end], tile[2][line, begin:end])
            first, last = inner_part(along_x, along_y, row[0].size, before, high)
            left = _outer_pixels(along_x, along_y, (ny, nx), first, last, row)
            if first < last:
                part, (places, parts, sums) = (first, last), scratch
                place_windows(along_x, along_y, part, pitch, lanes, before, places, parts)
                sum_taps(flat[0], pitch, flat[1], taps, last - first, places, parts, sums)
                left += _inner_pixels(
                    along_x,
                    along_y,
                    part,
                    (planes[2], taps),
                    marks,
                    shift,
                    sky_and_scale,
                    scratch,
                    row,
                )
            if left > 0:
                _other_pixels(along_x, along_y, planes, table, taps, sky_and_scale, row)


@njit(cache=True, nogil=True)
def warp_rows(
    start: int,
    stop: int,
    step: int,
    nodes: tuple[Nodes, Nodes],
    planes: Planes,
    pairs: Image,
    marks: Mask,
    shift: int,
    table: Image,
    taps: int,
    sky_and_scale: Level,
    out: Planes,
) -> None:
    """Rows ``start <= y < stop`` of a window of the target, whose pixel (0, 0) is the first node.

    ``nodes`` are source x and y ``step`` (a power of two up to TILE_COLUMNS) pixels apart.
    ``pairs`` are those of :func:`pair_rows`; ``marks`` tells of each of its blocks, of
    ``1 << shift`` pixels, how many marked ones lie above and to the left. A block is no smaller
    than what :func:`app.pixels.taps.sum_taps` reads; one row and one column of unmarked blocks
    follow. ``table`` is padded; with ``taps`` 1 the nearest pixel is taken. Pixels that map outside
    the source are NaN and NO_DATA.
    """
    scratch = (
        np.empty((5, step), dtype=np.int64),
        np.empty((2, step), dtype=np.float32),
        np.empty((2, step), dtype=np.float32),
    )
    tile = (
        np.empty((TILE_ROWS, TILE_COLUMNS), dtype=np.float32),
        np.empty((TILE_ROWS, TILE_COLUMNS), dtype=np.float32),
        np.empty((TILE_ROWS, TILE_COLUMNS), dtype=np.int32),
    )
    nx = out[0].shape[1]
    for y in range(start, stop, TILE_ROWS):
        for x in range(0, nx, TILE_COLUMNS):
            rows, columns = (y, min(y + TILE_ROWS, stop)), (x, min(x + TILE_COLUMNS, nx))
            _warp_tile(
                rows,
                columns,
                step,
                nodes,
                planes,
                pairs,
                marks,
                shift,
                table,
                taps,
                sky_and_scale,
                scratch,
                tile,
            )
            for line in range(rows[1] - rows[0]):
                for n in range(columns[1] - columns[0]):
                    out[0][y + line, x + n] = tile[0][line, n]
                for n in range(columns[1] - columns[0]):
                    out[1][y + line, x + n] = tile[1][line, n]
                for n in range(columns[1] - columns[0]):
                    out[2][y + line, x + n] = tile[2][line, n]

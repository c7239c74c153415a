"""The compiled row kernel of :mod:`app.pixels.warp`."""

from __future__ import annotations

from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from app.pixels.image import bits
from app.pixels.stencil import PHASES

Image = NDArray[np.float32]
Mask = NDArray[np.int32]
Nodes = NDArray[np.float64]

NO_DATA: Final = bits("NO_DATA")
EDGE: Final = bits("EDGE")
MISSING: Final = 1 << 30
"""Private mark, never in a result: this pixel lends no tap."""
LEAST_WEIGHT: Final = 0.3
"""A pixel whose present taps sum to less than this has too little data to be a value."""
_FAST: Final = {"contract", "nsz", "reassoc"}


@njit(cache=True, nogil=True, inline="always")
def _cell_row(
    nodes: Nodes, row: int, column: int, down: float
) -> tuple[float, float, float, float]:
    """On one row of one cell: value at its left, slope along x, and the same of d/dy."""
    up_left = nodes[row + 1, column] - nodes[row, column]
    up_right = nodes[row + 1, column + 1] - nodes[row, column + 1]
    left = nodes[row, column] + up_left * down
    right = nodes[row, column + 1] + up_right * down
    return left, right - left, up_left, up_right - up_left


@njit(cache=True, nogil=True, fastmath=_FAST, inline="always")
def _weigh(table: Image, position: float, floor: int, weights: Image) -> None:
    """Fill the tap weights for a position and its floor."""
    phase = (position - floor) * PHASES
    entry = min(int(phase), PHASES - 1)
    part = np.float32(phase - entry)
    for tap in range(weights.size):
        low = table[entry, tap]
        weights[tap] = low + (table[entry + 1, tap] - low) * part


@njit(cache=True, nogil=True, fastmath=_FAST)
def _whole(
    flux: Image, variance: Image, y: int, x: int, weight_y: Image, weight_x: Image
) -> tuple[np.float32, np.float32]:
    """Flux and variance when every tap is present; (y, x) is the first tap."""
    value, noise = np.float32(0.0), np.float32(0.0)
    for j in range(weight_y.size):
        row_value, row_noise = np.float32(0.0), np.float32(0.0)
        for i in range(weight_x.size):
            weight = weight_x[i]
            row_value += weight * flux[y + j, x + i]
            row_noise += weight * weight * variance[y + j, x + i]
        value += weight_y[j] * row_value
        noise += weight_y[j] * weight_y[j] * row_noise
    return value, noise


@njit(cache=True, nogil=True, fastmath=_FAST, inline="always")
def _whole_six(
    flux: Image, variance: Image, y: int, x: int, weight_y: Image, weight_x: Image
) -> tuple[np.float32, np.float32]:
    """:func:`_whole` for six taps: with the count known the compiler unrolls, twice as fast."""
    value, noise = np.float32(0.0), np.float32(0.0)
    first_y, first_x = np.uint64(y), np.uint64(x)
    for j in range(np.uint64(6)):
        row_value, row_noise = np.float32(0.0), np.float32(0.0)
        for i in range(np.uint64(6)):
            weight = weight_x[i]
            row_value += weight * flux[first_y + j, first_x + i]
            row_noise += weight * weight * variance[first_y + j, first_x + i]
        value += weight_y[j] * row_value
        noise += weight_y[j] * weight_y[j] * row_noise
    return value, noise


@njit(cache=True, nogil=True)
def _partial(
    flux: Image,
    variance: Image,
    marked: Mask,
    at: tuple[float, float],
    y: int,
    x: int,
    weight_y: Image,
    weight_x: Image,
) -> tuple[float, float, int]:
    """Renormalised flux, variance and mask (EDGE or NO_DATA set) when some taps are missing."""
    ny, nx = flux.shape
    value, noise, total, seen = 0.0, 0.0, 0.0, 0
    for j in range(max(0, y), min(ny, y + weight_y.size)):
        for i in range(max(0, x), min(nx, x + weight_x.size)):
            seen |= marked[j, i]
            if marked[j, i] & MISSING == 0:
                weight = weight_y[j - y] * weight_x[i - x]
                total += weight
                value += weight * flux[j, i]
                noise += weight * weight * variance[j, i]
    seen &= ~MISSING
    nearest = marked[int(np.floor(at[0] + 0.5)), int(np.floor(at[1] + 0.5))]
    if nearest & MISSING != 0 or total < LEAST_WEIGHT:
        return np.nan, np.nan, seen | NO_DATA
    return value / total, noise / (total * total), seen | EDGE


@njit(cache=True, nogil=True, error_model="numpy")
def warp_rows(
    start: int,
    stop: int,
    bounds: tuple[int, int, int],
    step: int,
    map_x: Nodes,
    map_y: Nodes,
    flux: Image,
    variance: Image,
    marked: Mask,
    footprint: Mask,
    table: Image,
    out_flux: Image,
    out_variance: Image,
    out_mask: Mask,
) -> None:
    """Target rows ``start <= y < stop``; ``bounds`` is (y_start, x_start, x_stop) of the map.

    ``footprint`` is the OR of ``marked`` over the taps around each floor pixel. Pixels that map
    outside the source are left as they are.
    """
    ny, nx = flux.shape
    y_start, x_start, x_stop = bounds
    taps, per_cell = table.shape[1], 1.0 / step
    before = taps // 2 - 1
    weight_x, weight_y = np.empty(taps, dtype=np.float32), np.empty(taps, dtype=np.float32)
    for y in range(start, stop):
        row, down = (y - y_start) // step, ((y - y_start) % step) * per_cell
        for column in range(-(-(x_stop - x_start) // step)):
            cell_x = x_start + column * step
            x_left, x_slope, x_up, x_twist = _cell_row(map_x, row, column, down)
            y_left, y_slope, y_up, y_twist = _cell_row(map_y, row, column, down)
            for x in range(cell_x, min(cell_x + step, x_stop)):
                across = (x - cell_x) * per_cell
                at_x, at_y = x_left + x_slope * across, y_left + y_slope * across
                if not (-0.5 <= at_x < nx - 0.5 and -0.5 <= at_y < ny - 0.5):
                    continue
                twist = x_slope * (y_up + y_twist * across) - y_slope * (x_up + x_twist * across)
                area = np.float32(abs(twist) * per_cell * per_cell)
                floor_x, floor_y = int(np.floor(at_x)), int(np.floor(at_y))
                _weigh(table, at_x, floor_x, weight_x)
                _weigh(table, at_y, floor_y, weight_y)
                first_y, first_x = floor_y - before, floor_x - before
                seen = footprint[floor_y, floor_x] if floor_x >= 0 and floor_y >= 0 else MISSING
                if seen & MISSING == 0 and taps == 6:
                    value, noise = _whole_six(flux, variance, first_y, first_x, weight_y, weight_x)
                elif seen & MISSING == 0:
                    value, noise = _whole(flux, variance, first_y, first_x, weight_y, weight_x)
                else:
                    value, noise, seen = _partial(
                        flux, variance, marked, (at_y, at_x), first_y, first_x, weight_y, weight_x
                    )
                    if seen & NO_DATA != 0:
                        out_mask[y, x] = seen
                        continue
                out_flux[y, x] = value * area
                out_variance[y, x] = noise * area * area
                out_mask[y, x] = seen

"""Positions along segments: the pixels of one row of the target between two nodes of a map.

Between the nodes positions are bilinear, so that along a segment they lie on a line.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from app.pixels.stencil import PHASES

Nodes = NDArray[np.float64]
Segment = tuple[float, float, float, float]
"""One coordinate along a segment: that of its first pixel, the slope along x, and the same of the
derivative along y."""


@njit(cache=True, nogil=True, inline="always")
def segment(nodes: Nodes, row: int, column: int, down: float, share: float) -> Segment:
    """One row of one cell of a map, ``down`` (0 to 1) of the way to the next row of nodes.

    ``row`` and ``column`` are those of its first node; ``share`` is 1 / the pixels between nodes.
    """
    up_left = nodes[row + 1, column] - nodes[row, column]
    up_right = nodes[row + 1, column + 1] - nodes[row, column + 1]
    left = nodes[row, column] + up_left * down
    right = nodes[row, column + 1] + up_right * down
    return left, (right - left) * share, up_left * share, (up_right - up_left) * (share * share)


@njit(cache=True, nogil=True, inline="always")
def area_of(along_x: Segment, along_y: Segment, across: int) -> np.float32:
    """Source pixels per target pixel ``across`` pixels from the left of a segment."""
    twist = along_x[1] * (along_y[2] + along_y[3] * across)
    return np.float32(abs(twist - along_y[1] * (along_x[2] + along_x[3] * across)))


@njit(cache=True, nogil=True)
def inner_part(
    along_x: Segment, along_y: Segment, size: int, before: int, high: tuple[int, int]
) -> tuple[int, int]:
    """The pixels ``first <= n < last`` of a segment whose windows, which begin ``before`` pixels
    before the position, begin at 0 to ``high`` (y, x): positions lie on a line."""
    first, last = 0, size
    while first < last and not _is_inner(along_x, along_y, first, before, high):
        first += 1
    while last > first and not _is_inner(along_x, along_y, last - 1, before, high):
        last -= 1
    return first, last


@njit(cache=True, nogil=True, inline="always")
def _is_inner(
    along_x: Segment, along_y: Segment, n: int, before: int, high: tuple[int, int]
) -> bool:
    y = np.floor(along_y[0] + along_y[1] * n) - before
    x = np.floor(along_x[0] + along_x[1] * n) - before
    return bool(0 <= y <= high[0] and 0 <= x <= high[1])


@njit(cache=True, nogil=True, error_model="numpy")
def place_windows(
    along_x: Segment,
    along_y: Segment,
    part: tuple[int, int],
    row: int,
    lanes: int,
    before: int,
    places: NDArray[np.int64],
    parts: NDArray[np.float32],
) -> None:
    """Fill the places and parts of :func:`app.pixels.taps.sum_taps` for some pixels of a segment
    of a source whose rows lie ``row`` pixels apart."""
    for n in range(part[1] - part[0]):
        across = part[0] + n
        at_x, at_y = along_x[0] + along_x[1] * across, along_y[0] + along_y[1] * across
        floor_y, floor_x = np.floor(at_y), np.floor(at_x)
        phase_x, phase_y = (at_x - floor_x) * PHASES, (at_y - floor_y) * PHASES
        entry_x, entry_y = min(int(phase_x), PHASES - 1), min(int(phase_y), PHASES - 1)
        parts[0, n], parts[1, n] = np.float32(phase_x - entry_x), np.float32(phase_y - entry_y)
        y, x = int(floor_y) - before, int(floor_x) - before
        places[0, n], places[1, n], places[2, n] = y * row + x, entry_x * lanes, entry_y * lanes
        places[3, n], places[4, n] = y, x

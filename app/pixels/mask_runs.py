"""The mask of a warped exposure as runs of equal values along rows.

A mask says the same of thousands of pixels in a row: its runs take kilobytes where its plane takes
a third of the whole exposure. What warping spreads over a stencil never comes pixel by pixel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from app.pixels.image import UNUSABLE, MaskedImage

Runs = NDArray[np.int32]
Plane = NDArray[np.float32]
Bools = NDArray[np.bool_]

_UNTOLD: Final = 1 << 30
"""In the value of a run, never in a mask: flux is not finite, or variance no positive number."""
_BLOCK: Final = 64
"""Pixels that are compared at once."""


@dataclass(frozen=True, slots=True)
class MaskRuns:
    """``first`` (ny + 1,): number of the first run of each row, and how many there are in all;
    ``stop`` (R,): the column after each run; ``value`` (R,): what its pixels have. All are int32;
    columns are counted from the first of the plane that has the mask."""

    first: Runs
    stop: Runs
    value: Runs

    @classmethod
    def of(cls, image: MaskedImage) -> MaskRuns:
        """Those of the mask of ``image``, told apart by whether flux and variance have values."""
        first = np.zeros(image.shape[0] + 1, dtype=np.int32)
        found = _find_runs(
            np.ascontiguousarray(image.flux),
            np.ascontiguousarray(image.variance),
            np.ascontiguousarray(image.mask),
            first,
        )
        return cls(first, *found)

    def fill(self, plane: NDArray[np.int32]) -> None:
        """Make ``plane`` the mask of these rows."""
        _paint_masks(self.first, self.stop, self.value, plane)

    def mark_usable(self, plane: NDArray[np.uint8], bit: int) -> None:
        """Set ``bit`` in a plane of these rows where a pixel is usable
        (:meth:`app.pixels.image.MaskedImage.usable`)."""
        _mark_usable(self.first, self.stop, self.value, np.uint8(bit), plane)

    def extent(self, columns: int) -> tuple[Runs, Runs, Runs, Runs, int]:
        """First and last usable column of each row, first and last usable row of each column (last
        before first where there is none), and the number of usable pixels."""
        rows = self.first.size - 1
        left, right = np.full(rows, columns, dtype=np.int32), np.full(rows, -1, dtype=np.int32)
        low, high = np.full(columns, rows, dtype=np.int32), np.full(columns, -1, dtype=np.int32)
        count = _measure_extent(self.first, self.stop, self.value, left, right, low, high)
        return left, right, low, high, count


@njit(cache=True, nogil=True)
def _find_runs(
    flux: Plane, variance: Plane, mask: NDArray[np.int32], first: Runs
) -> tuple[Runs, Runs]:
    """Stops and values of all runs; ``first`` is filled."""
    ny, nx = mask.shape
    stops, values = np.empty(8 * ny + nx, dtype=np.int32), np.empty(8 * ny + nx, dtype=np.int32)
    codes, limit = np.empty(nx, dtype=np.int32), np.float32(np.inf)
    count = 0
    for y in range(ny):
        if count + nx > stops.size:
            stops = np.concatenate((stops, np.empty_like(stops)))
            values = np.concatenate((values, np.empty_like(values)))
        for x in range(nx):
            told = (abs(flux[y, x]) < limit) & (variance[y, x] > 0) & (variance[y, x] < limit)
            codes[x] = mask[y, x] | (np.int32(0) if told else np.int32(_UNTOLD))
        now = codes[0]
        for start in range(0, nx, _BLOCK):
            block = codes[start : start + _BLOCK]
            other = np.int32(0)
            for x in range(block.size):
                other |= block[x] ^ now
            for x in range(block.size if other != 0 else 0):
                if block[x] != now:
                    stops[count], values[count] = start + x, now
                    now, count = block[x], count + 1
        stops[count], values[count] = nx, now
        count += 1
        first[y + 1] = count
    return stops[:count].copy(), values[:count].copy()


@njit(cache=True, nogil=True)
def _paint_masks(first: Runs, stop: Runs, value: Runs, plane: NDArray[np.int32]) -> None:
    for y in range(first.size - 1):
        x = 0
        for n in range(first[y], first[y + 1]):
            plane[y, x : stop[n]] = value[n] & np.int32(~_UNTOLD)
            x = stop[n]


@njit(cache=True, nogil=True, inline="always")
def _is_usable(value: int) -> bool:
    return bool(value & (UNUSABLE | _UNTOLD) == 0)


@njit(cache=True, nogil=True)
def _mark_usable(
    first: Runs, stop: Runs, value: Runs, bit: np.uint8, plane: NDArray[np.uint8]
) -> None:
    for y in range(first.size - 1):
        start = 0
        for n in range(first[y], first[y + 1]):
            if _is_usable(value[n]):
                part = plane[y, start : stop[n]]
                for x in range(part.size):
                    part[x] |= bit
            start = stop[n]


@njit(cache=True, nogil=True)
def _measure_extent(
    first: Runs, stop: Runs, value: Runs, left: Runs, right: Runs, low: Runs, high: Runs
) -> int:
    count = 0
    for y in range(first.size - 1):
        start = 0
        for n in range(first[y], first[y + 1]):
            if _is_usable(value[n]):
                left[y], right[y] = min(left[y], np.int32(start)), stop[n] - 1
                count += stop[n] - start
                lowest, highest = low[start : stop[n]], high[start : stop[n]]
                for x in range(lowest.size):
                    lowest[x] = min(lowest[x], np.int32(y))
                    highest[x] = np.int32(y)
            start = stop[n]
    return count

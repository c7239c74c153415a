"""Local maxima of a significance map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from app.pixels.bands import over_rows

BLOCK_PX: Final = 64
"""Pixels of a row that are passed over at once where none is above the threshold."""


@dataclass(frozen=True, slots=True)
class Peaks:
    """Pixel positions (int64) and values of maxima, highest first."""

    x: NDArray[np.int64]
    y: NDArray[np.int64]
    value: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.x)


@njit(cache=True, nogil=True)
def mark_peaks(
    start: int,
    stop: int,
    plane: NDArray[np.float32],
    threshold: float,
    reach: int,
    found: NDArray[np.bool_],
) -> None:
    """Mark pixels of some rows that are above ``threshold`` and the highest within ±``reach``; the
    first of equals is."""
    nx = plane.shape[1]
    for y in range(start, stop):
        for first in range(0, nx, BLOCK_PX):
            block, above = plane[y, first : first + BLOCK_PX], 0
            for i in range(block.size):
                above += block[i] > threshold
            for i in range(block.size if above else 0):
                if block[i] > threshold:
                    found[y, first + i] = _is_highest(plane, y, first + i, reach)


@njit(cache=True, nogil=True)
def _is_highest(plane: NDArray[np.float32], y: int, x: int, reach: int) -> bool:
    ny, nx = plane.shape
    value = plane[y, x]
    for j in range(max(0, y - reach), min(ny, y + reach + 1)):
        for i in range(max(0, x - reach), min(nx, x + reach + 1)):
            other = plane[j, i]
            earlier = j < y or (j == y and i < x)
            if other > value or (other == value and earlier):
                return False
    return True


def find_peaks(plane: NDArray[np.float32], threshold: float, reach_px: int) -> Peaks:
    """Pixels above ``threshold`` that are the highest within a square of ±``reach_px``.

    NaN pixels are never peaks and hide none.
    """
    found = np.zeros(plane.shape, dtype=np.bool_)
    contiguous = np.ascontiguousarray(plane, dtype=np.float32)

    def rows(start: int, stop: int) -> None:
        mark_peaks(start, stop, contiguous, threshold, reach_px, found)

    over_rows(rows, plane.shape[0])
    places = np.flatnonzero(found)
    return peaks_at(places, contiguous.ravel()[places], plane.shape[1])


def peaks_at(places: NDArray[np.intp], value: NDArray[np.float32], columns: int) -> Peaks:
    """Peaks of a plane with so many columns, by their places in it row after row, in order."""
    y, x = np.divmod(places, columns)
    order = np.argsort(-value, kind="stable")
    return Peaks(x[order], y[order], value[order])

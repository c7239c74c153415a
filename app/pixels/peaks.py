"""Local maxima of a significance map."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from app.pixels.bands import over_rows


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
    ny, nx = plane.shape
    for y in range(start, stop):
        for x in range(nx):
            value = plane[y, x]
            if not value > threshold:
                continue
            highest = True
            for j in range(max(0, y - reach), min(ny, y + reach + 1)):
                for i in range(max(0, x - reach), min(nx, x + reach + 1)):
                    other = plane[j, i]
                    earlier = j < y or (j == y and i < x)
                    if other > value or (other == value and earlier):
                        highest = False
                        break
                if not highest:
                    break
            found[y, x] = highest


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

"""Peaks of an image smoothed over boxes of 3 x 3 pixels, without a plane of the smoothed image."""

from __future__ import annotations

from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from app.pixels.bands import over_rows
from app.pixels.peaks import BLOCK_PX, Peaks, mark_peaks, peaks_at

Plane = NDArray[np.float32]

BAND_ROWS: Final = 64


def find_box_peaks(
    clean: Plane, variance: Plane, least_variance: float, threshold: float, reach_px: int
) -> Peaks:
    """The highest of all boxes within a square of ±``reach_px``, by the sum of ``clean`` over its
    noise, where that is above ``threshold``.

    A pixel's variance counts as ``least_variance`` where it is less. Boxes with a NaN pixel, or
    across the border, are never peaks and hide none.
    """
    ny, nx = clean.shape
    places = [np.empty(0, dtype=np.int64)] * -(-ny // BAND_ROWS)
    found = [np.empty(0, dtype=np.float32)] * len(places)

    def look(start: int, stop: int) -> None:
        first, last = max(0, start - reach_px), min(ny, stop + reach_px)
        values = np.full((last - first, nx), np.nan, dtype=np.float32)
        limits = (np.float32(least_variance), np.float32(threshold))
        _box_rows(first, clean, variance, *limits, values)
        marked = np.zeros(values.shape, dtype=np.bool_)
        mark_peaks(start - first, stop - first, values, threshold, reach_px, marked)
        inside = np.flatnonzero(marked)
        places[start // BAND_ROWS] = inside + first * nx
        found[start // BAND_ROWS] = values.ravel()[inside]

    over_rows(look, ny, band_rows=BAND_ROWS)
    return peaks_at(np.concatenate(places), np.concatenate(found), nx)


@njit(cache=True, nogil=True, error_model="numpy")
def _box_rows(
    first: int,
    clean: Plane,
    variance: Plane,
    least_variance: np.float32,
    threshold: np.float32,
    values: Plane,
) -> None:
    """Fill ``values``, whose row 0 is row ``first``, in blocks where one is above ``threshold``."""
    ny, nx = clean.shape
    signal = np.empty(nx, dtype=np.float32)
    power = np.empty(nx, dtype=np.float32)
    least = np.float32(0.98) * threshold * threshold
    for y in range(max(1, first), min(ny - 1, first + len(values))):
        target = values[y - first]
        for x in range(nx):
            signal[x] = clean[y - 1, x] + clean[y, x] + clean[y + 1, x]
            above, here, below = variance[y - 1, x], variance[y, x], variance[y + 1, x]
            power[x] = (
                (above if above > least_variance else least_variance)
                + (here if here > least_variance else least_variance)
                + (below if below > least_variance else least_variance)
            )
        for start in range(1, nx - 1, BLOCK_PX):
            size = min(BLOCK_PX, nx - 1 - start)
            left, middle, right = signal[start - 1 :], signal[start:], signal[start + 1 :]
            before, here_too, after = power[start - 1 :], power[start:], power[start + 1 :]
            shows = 0
            for i in range(size):
                total, noise = left[i] + middle[i] + right[i], before[i] + here_too[i] + after[i]
                shows += (total > 0) & (total * total > least * noise)
            for i in range(size if shows else 0):
                total, noise = left[i] + middle[i] + right[i], before[i] + here_too[i] + after[i]
                target[start + i] = total / np.sqrt(noise)

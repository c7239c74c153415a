"""A PSF and its slopes on the pixels of a stamp, whose rows and columns share their weights."""

from __future__ import annotations

from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from app.pixels.psf_field import TAPS, Profile
from app.pixels.stencil import PHASES, stencil_table

Floats = NDArray[np.float64]

DIFFERENCE_PX: Final = 0.05
"""Half the base of the differences that stand for derivatives of the PSF."""
WINDOW: Final = TAPS + 2
"""Samples that take part in a value or a slope: a move of DIFFERENCE_PX is less than a sample."""
TABLE: Final[Floats] = stencil_table("lanczos5").astype(np.float64)
"""Weights of samples in the values between them."""


def psf_planes(profile: Profile, x: float, y: float, shape: tuple[int, int]) -> Floats:
    """(3, ny, nx): the flux that pixels get from a unit source, and its derivatives (per px) when
    the source moves along x and along y.

    The first pixel of the ``shape`` lies at (``x``, ``y``) from the source; values between samples
    are those of :meth:`Profile.values`.
    """
    out = np.empty((3, *shape))
    fill_planes(np.ascontiguousarray(profile.samples), profile.sampling, x, y, TABLE, out)
    return out


@njit(cache=True, nogil=True)
def _weigh(
    first: float,
    sampling: float,
    middle: int,
    table: Floats,
    starts: NDArray[np.int64],
    weights: Floats,
) -> None:
    """First sample of each pixel along an axis, and the weights of samples in value and slope."""
    weights[:] = 0.0
    for i in range(starts.size):
        starts[i] = int(np.floor((first + i) / sampling)) + middle - TAPS // 2
        for k in range(3):
            at = (first + i + (0.0, -DIFFERENCE_PX, DIFFERENCE_PX)[k]) / sampling + middle
            left = int(np.floor(at))
            line = table[int((at - left) * PHASES + 0.5)]
            factor = (1.0, 0.5 / DIFFERENCE_PX, -0.5 / DIFFERENCE_PX)[k]
            for t in range(TAPS):
                place = left - TAPS // 2 + 1 + t - starts[i]
                weights[min(k, 1), i, place] += factor * line[t]


@njit(cache=True, nogil=True)
def fill_planes(
    samples: Floats, sampling: float, x: float, y: float, table: Floats, out: Floats
) -> None:
    """:func:`psf_planes` into ``out``: along columns to the rows of pixels, then along those."""
    _, ny, nx = out.shape
    rows, columns = samples.shape
    left, across = np.empty(nx, np.int64), np.empty((2, nx, WINDOW))
    low, along = np.empty(ny, np.int64), np.empty((2, ny, WINDOW))
    _weigh(x, sampling, columns // 2, table, left, across)
    _weigh(y, sampling, rows // 2, table, low, along)
    base, stop = left.min(), left.max() + WINDOW
    first, last = max(0, base), min(columns, stop)
    if first >= last:
        out[:] = 0.0
        return
    value, slope = np.empty(stop - base), np.empty(stop - base)
    for j in range(ny):
        value[:], slope[:] = 0.0, 0.0
        known, moved = value[first - base : last - base], slope[first - base : last - base]
        for t in range(max(0, -low[j]), min(WINDOW, rows - low[j])):
            line = samples[low[j] + t, first:last]
            for column in range(line.size):
                known[column] += along[0, j, t] * line[column]
                moved[column] += along[1, j, t] * line[column]
        for i in range(nx):
            total, along_x, along_y = 0.0, 0.0, 0.0
            values, slopes = value[left[i] - base :], slope[left[i] - base :]
            for t in range(WINDOW):
                total += across[0, i, t] * values[t]
                along_x += across[1, i, t] * values[t]
                along_y += across[0, i, t] * slopes[t]
            out[0, j, i], out[1, j, i], out[2, j, i] = total, along_x, along_y

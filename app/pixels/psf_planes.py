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
_TABLE: Final[Floats] = stencil_table("lanczos5").astype(np.float64)


def psf_planes(profile: Profile, x: float, y: float, shape: tuple[int, int]) -> Floats:
    """(3, ny, nx): the flux that pixels get from a unit source, and its derivatives (per px) when
    the source moves along x and along y.

    The first pixel of the ``shape`` lies at (``x``, ``y``) from the source; values between samples
    are those of :meth:`Profile.values`.
    """
    out = np.zeros((3, *shape))
    _fill(np.ascontiguousarray(profile.samples), profile.sampling, x, y, _TABLE, out)
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
def _fill(samples: Floats, sampling: float, x: float, y: float, table: Floats, out: Floats) -> None:
    """Along columns to the rows of pixels, then along those."""
    _, ny, nx = out.shape
    rows, columns = samples.shape
    left, across = np.empty(nx, np.int64), np.empty((2, nx, WINDOW))
    low, along = np.empty(ny, np.int64), np.empty((2, ny, WINDOW))
    _weigh(x, sampling, columns // 2, table, left, across)
    _weigh(y, sampling, rows // 2, table, low, along)
    first, last = max(0, left.min()), min(columns, left.max() + WINDOW)
    if first >= last:
        return
    value, slope = np.empty(columns), np.empty(columns)
    for j in range(ny):
        value[:], slope[:] = 0.0, 0.0
        for t in range(max(0, -low[j]), min(WINDOW, rows - low[j])):
            line = samples[low[j] + t]
            here, moved = along[0, j, t], along[1, j, t]
            for column in range(first, last):
                value[column] += here * line[column]
                slope[column] += moved * line[column]
        for i in range(nx):
            total, along_x, along_y = 0.0, 0.0, 0.0
            for t in range(max(0, -left[i]), min(WINDOW, columns - left[i])):
                total += across[0, i, t] * value[left[i] + t]
                along_x += across[1, i, t] * value[left[i] + t]
                along_y += across[0, i, t] * slope[left[i] + t]
            out[0, j, i], out[1, j, i], out[2, j, i] = total, along_x, along_y

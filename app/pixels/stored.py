"""Stored pixels made flux and variance, in one pass each."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

Plane = NDArray[np.float32]


@njit(cache=True, nogil=True)
def forget_infinite(flux: Plane) -> None:
    """Make NaN of what is not finite in ``flux`` (ny, nx)."""
    limit = np.float32(np.inf)
    for y in range(flux.shape[0]):
        for x in range(flux.shape[1]):
            flux[y, x] = flux[y, x] if abs(flux[y, x]) < limit else np.float32(np.nan)


@njit(cache=True, nogil=True)
def invert_weight(plane: Plane, scale: np.float32) -> int:
    """Make ``scale`` / weight of the weights in ``plane`` (ny, nx), NaN where one is no positive
    number; how many pixels these are."""
    without, limit = 0, np.float32(np.inf)
    for y in range(plane.shape[0]):
        for x in range(plane.shape[1]):
            weight = plane[y, x]
            known = (weight > 0) & (weight < limit)
            inverse = np.float32(1.0) / (weight if known else np.float32(1.0))
            plane[y, x] = inverse * scale if known else np.float32(np.nan)
            without += not known
    return without

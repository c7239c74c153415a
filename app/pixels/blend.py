"""The mask of a stacked pixel, from those of its inputs and from what was left out."""

from __future__ import annotations

from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from app.pixels.image import UNUSABLE, bits
from app.pixels.placed import Image, Rows, plane_rows

NO_DATA: Final = bits("NO_DATA")
EDGE: Final = bits("EDGE")
SAT: Final = bits("SAT")
CLIPPED: Final = bits("CLIPPED")
REJECTED: Final = bits("REJECTED")
SENSOR_EDGE: Final = bits("SENSOR_EDGE")
INEXACT_PSF: Final = bits("INEXACT_PSF")
REJECTING: Final = UNUSABLE & ~(NO_DATA | EDGE)
"""Planes whose rejection is told as REJECTED; that of EDGE is told as SENSOR_EDGE."""
EXCLUDED: Final = 1 << 30
"""Private mark, never in a result: a pixel that is left out of its input as if clipped."""
LEFT_OUT: Final = UNUSABLE | EXCLUDED
SAT_FRACTION: Final = 0.1
"""A pixel is SAT when more than this share of its weight was rejected as SAT."""


@njit(cache=True, nogil=True)
def blend_mask(rows: Rows, y: int, x: int, weights: Image, clipped: NDArray[np.bool_]) -> int:
    """The mask of one pixel from those of its inputs; ``clipped`` ones are left out."""
    seen, lost, flags = np.int32(0), np.int32(0), np.int32(0)
    with_data, saturated = np.float32(0.0), np.float32(0.0)
    used = False
    for n in range(weights.size):
        flux, variance, mask = plane_rows(rows, n)
        here = mask[y, x]
        noise = variance[y, x]
        finite = np.isfinite(flux[y, x]) and np.isfinite(noise) and noise > 0.0
        if here & NO_DATA == 0:
            with_data += weights[n]
        if here & UNUSABLE != 0 or not finite:
            lost |= here & ~(NO_DATA | EDGE | EXCLUDED)
            saturated += weights[n] if here & SAT != 0 else np.float32(0.0)
            flags |= REJECTED if here & REJECTING != 0 else 0
            flags |= SENSOR_EDGE if here & EDGE != 0 else 0
        elif clipped[n] or here & EXCLUDED != 0:
            flags |= CLIPPED
        else:
            used = True
            seen |= here
    flags |= INEXACT_PSF if flags != 0 else 0
    if not used:
        return int(lost | flags | NO_DATA)
    return int(seen | flags | (SAT if saturated > SAT_FRACTION * with_data else 0))

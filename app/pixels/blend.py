"""The mask of a stacked pixel, from those of its inputs and from what was left out."""

from __future__ import annotations

from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from app.pixels.image import UNUSABLE, bits

Bits = NDArray[np.int32]
Line = NDArray[np.float32]

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
def gather_bits(
    flux: Line, variance: Line, mask: Bits, values: Line, weight: np.float32, told: Bits, sums: Line
) -> None:
    """Add one input's run of pixels to what :func:`blend_run` makes masks of.

    ``values`` are infinite where the input is left out. ``told`` (4, n): bits of the values used,
    of those that were rejected, planes that tell of the rejection, and 1 where a value is used.
    ``sums`` (2, n): weight with data, and that rejected as SAT.
    """
    limit, lasting = np.float32(np.inf), np.int32(~(NO_DATA | EDGE | EXCLUDED))
    nothing = np.int32(0)
    for x in range(mask.size):
        here, noise = mask[x], variance[x]
        used = values[x] < limit
        good = (abs(flux[x]) < limit) & (noise > 0) & (noise < limit)
        rejected = ((here & np.int32(UNUSABLE)) != 0) | (not good)
        flags = np.int32(REJECTED) if here & np.int32(REJECTING) != 0 else nothing
        flags |= np.int32(SENSOR_EDGE) if here & np.int32(EDGE) != 0 else nothing
        hidden = nothing if used else np.int32(CLIPPED)
        told[0, x] |= here if used else nothing
        told[1, x] |= here & lasting if rejected else nothing
        told[2, x] |= flags if rejected else hidden
        told[3, x] |= np.int32(used)
        sums[0, x] += weight if here & np.int32(NO_DATA) == 0 else np.float32(0.0)
        lost = rejected & ((here & np.int32(SAT)) != 0)
        sums[1, x] += weight if lost else np.float32(0.0)


@njit(cache=True, nogil=True)
def gather_clean(weight: np.float32, told: Bits, sums: Line) -> None:
    """:func:`gather_bits` of an input all of whose values are used and whose mask tells nothing."""
    for x in range(told.shape[1]):
        told[3, x] = 1
        sums[0, x] += weight


@njit(cache=True, nogil=True)
def blend_run(told: Bits, sums: Line, mask: Bits) -> None:
    """The masks of a run of pixels, from what :func:`gather_bits` was given of every input."""
    for x in range(mask.size):
        flags = told[2, x] | (np.int32(INEXACT_PSF) if told[2, x] != 0 else np.int32(0))
        saturated = sums[1, x] > SAT_FRACTION * sums[0, x]
        seen = told[0, x] | (np.int32(SAT) if saturated else np.int32(0))
        mask[x] = flags | (seen if told[3, x] != 0 else told[1, x] | np.int32(NO_DATA))

"""Which inputs each pixel of a stack is made of, one bit for each input."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numba import njit
from numpy.typing import NDArray

from app.pixels.bands import Between, over_rows
from app.pixels.image import UNUSABLE
from app.pixels.warped import PixelSet, Warped

Plane = NDArray[np.float32]
Bytes = NDArray[np.uint8]


def input_map(
    inputs: Sequence[Warped],
    excluded: Sequence[PixelSet | None] = (),
    *,
    between_bands: Between = lambda *_: None,
) -> Bytes:
    """(planes, ny, nx) uint8: input ``n`` is bit ``n % 8`` (1: the lowest) of plane ``n // 8``.

    A bit is set where the input has a usable value and ``excluded`` (nothing, or one entry for each
    input) does not leave it out. There is at least one input.
    """
    ny, nx = inputs[0].shape
    made = np.zeros((-(-len(inputs) // 8), ny, nx), dtype=np.uint8)

    def rows(start: int, stop: int) -> None:
        nothing = np.zeros((stop - start, nx), dtype=np.bool_)
        for n, each in enumerate(inputs):
            image, left_out = each.rows(start, stop), excluded[n] if excluded else None
            out = nothing if left_out is None else left_out.rows(start, stop, nx)
            bit, plane = np.uint8(1 << n % 8), made[n // 8, start:stop]
            _set_bits(image.flux, image.variance, image.mask, UNUSABLE, out, bit, plane)

    over_rows(rows, ny, between=between_bands)
    return made


@njit(cache=True, nogil=True)
def _set_bits(
    flux: Plane,
    variance: Plane,
    mask: NDArray[np.int32],
    reject: int,
    left_out: NDArray[np.bool_],
    bit: np.uint8,
    made: Bytes,
) -> None:
    limit = np.float32(np.inf)
    for y in range(flux.shape[0]):
        for x in range(flux.shape[1]):
            noise = variance[y, x]
            good = (mask[y, x] & reject) == 0 and noise > 0 and noise < limit
            good = good and abs(flux[y, x]) < limit and not left_out[y, x]
            made[y, x] |= bit if good else np.uint8(0)

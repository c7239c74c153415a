"""Images of coarser pixels, for a quick first look."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from app.pixels.bands import over_rows
from app.pixels.image import MaskedImage, bits

Plane = NDArray[np.float32]
Bits = NDArray[np.int32]


def binned(image: MaskedImage, step: int, reject: int) -> MaskedImage:
    """Means over squares of ``step`` pixels, with their variance.

    A square is NO_DATA unless all its pixels are usable without the bits of ``reject``; what is
    left of a square at the last row and column is dropped. With ``step`` 1 it is the image itself.
    """
    if step == 1:
        return image
    shape = image.shape[0] // step, image.shape[1] // step
    flux, variance = np.zeros(shape, dtype=np.float32), np.zeros(shape, dtype=np.float32)
    mask = np.zeros(shape, dtype=np.int32)

    def rows(start: int, stop: int) -> None:
        planes = image.flux, image.variance, image.mask
        _bin(start, stop, step, *planes, reject, bits("NO_DATA"), flux, variance, mask)

    over_rows(rows, shape[0])
    return MaskedImage(flux, variance, mask)


@njit(cache=True, nogil=True)
def _bin(
    start: int,
    stop: int,
    step: int,
    flux: Plane,
    variance: Plane,
    mask: Bits,
    reject: int,
    no_data: int,
    mean: Plane,
    noise: Plane,
    flags: Bits,
) -> None:
    share, limit = np.float32(1.0 / step**2), np.float32(np.inf)
    total, spread = np.empty(flux.shape[1], np.float32), np.empty(flux.shape[1], np.float32)
    for y in range(start, stop):
        total[:], spread[:] = 0.0, 0.0
        for j in range(y * step, (y + 1) * step):
            for i in range(flux.shape[1]):
                value, its_noise = flux[j, i], variance[j, i]
                told = (its_noise > 0) & (its_noise < limit) & (abs(value) < limit)
                told &= mask[j, i] & reject == 0
                total[i] += value
                spread[i] += its_noise if told else limit
        for k in range(step):
            for x in range(mean.shape[1]):
                mean[y, x] += total[x * step + k] * share
                noise[y, x] += spread[x * step + k] * (share * share)
        for x in range(mean.shape[1]):
            if not noise[y, x] < limit:
                mean[y, x] = noise[y, x] = 0.0
                flags[y, x] = no_data

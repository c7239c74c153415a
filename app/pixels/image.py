"""The masked image: flux, variance and mask planes on one pixel grid."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

MASK_PLANES: Final = MappingProxyType(
    {
        "BAD": 0,
        "SAT": 1,
        "INTRP": 2,
        "CR": 3,
        "EDGE": 4,
        "DETECTED": 5,
        "DETECTED_NEGATIVE": 6,
        "SUSPECT": 7,
        "NO_DATA": 8,
        "VIGNETTED": 9,
        "STREAK": 10,
        "CLIPPED": 11,
        "CROSSTALK": 12,
        "INEXACT_PSF": 13,
        "ITL_DIP": 14,
        "NOT_DEBLENDED": 15,
        "REJECTED": 16,
        "SENSOR_EDGE": 17,
        "UNMASKEDNAN": 18,
        "HIGH_VARIANCE": 19,
        "SAT_TEMPLATE": 20,
        "BRIGHT_OBJECT": 21,
    }
)
"""Rubin's mask planes: name -> bit. Masks inside Skyloom always use these bits; masks read from
files are remapped by name on the way in."""


def bits(*names: str) -> int:
    """The mask value with the named planes set. Raises KeyError on an unknown plane."""
    value = 0
    for name in names:
        value |= 1 << MASK_PLANES[name]
    return value


UNUSABLE: Final = bits("BAD", "SAT", "CR", "NO_DATA", "EDGE")
"""Pixels that carry any of these take no part in stacks, fits and statistics. A coadd's CLIPPED and
REJECTED are none of them: they tell that inputs were left out, the value is that of the others."""


@dataclass(frozen=True, slots=True)
class MaskedImage:
    """Three planes of one shape (ny, nx).

    ``flux`` float32 (NaN where there is none), ``variance`` float32 in flux units squared,
    ``mask`` int32 with the bits of :data:`MASK_PLANES`. ``fwhm_px`` and ``zero_point_mag`` are
    what is known of the image as a whole (None when unknown); flux 1 is ``zero_point_mag``
    magnitudes AB.
    """

    flux: NDArray[np.float32]
    variance: NDArray[np.float32]
    mask: NDArray[np.int32]
    fwhm_px: float | None = field(default=None, kw_only=True)
    zero_point_mag: float | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if not self.flux.shape == self.variance.shape == self.mask.shape or self.flux.ndim != 2:
            raise ValueError("flux, variance and mask must be 2-D and of one shape")

    @property
    def shape(self) -> tuple[int, int]:
        """(ny, nx)."""
        ny, nx = self.flux.shape
        return ny, nx

    def usable(self, reject: int = UNUSABLE) -> NDArray[np.bool_]:
        """True where flux and variance are finite, variance > 0 and no bit of ``reject`` is set."""
        good = np.empty(self.shape, dtype=np.bool_)
        mark_usable(self.flux, self.variance, self.mask, reject, good)
        return good

    def has_data(self) -> NDArray[np.bool_]:
        """True where flux is finite and the mask does not say NO_DATA."""
        held = np.empty(self.shape, dtype=np.bool_)
        _mark_data(self.flux, self.mask, bits("NO_DATA"), held)
        return held


@njit(cache=True, nogil=True)
def mark_usable(
    flux: NDArray[np.float32],
    variance: NDArray[np.float32],
    mask: NDArray[np.int32],
    reject: int,
    good: NDArray[np.bool_],
) -> None:
    """:meth:`MaskedImage.usable` into ``good``."""
    limit, rejected = np.float32(np.inf), np.int32(reject)
    for y in range(flux.shape[0]):
        for x in range(flux.shape[1]):
            noise = variance[y, x]
            told = (noise > 0) & (noise < limit) & (abs(flux[y, x]) < limit)
            good[y, x] = told & ((mask[y, x] & rejected) == 0)


@njit(cache=True, nogil=True)
def _mark_data(
    flux: NDArray[np.float32], mask: NDArray[np.int32], absent: int, held: NDArray[np.bool_]
) -> None:
    limit, rejected = np.float32(np.inf), np.int32(absent)
    for y in range(flux.shape[0]):
        for x in range(flux.shape[1]):
            held[y, x] = (abs(flux[y, x]) < limit) & ((mask[y, x] & rejected) == 0)


@njit(cache=True, nogil=True)
def has_value(plane: NDArray[np.float32]) -> bool:
    """Whether any pixel is finite."""
    for y in range(plane.shape[0]):
        for x in range(plane.shape[1]):
            if abs(plane[y, x]) < np.inf:
                return True
    return False


def lattice(image: MaskedImage, most: int = 500_000) -> MaskedImage:
    """Views of every n-th pixel in both axes, no more than ``most`` or so: enough for any robust
    number of the whole."""
    step = max(1, math.ceil(math.sqrt(image.flux.size / most)))
    every = np.s_[::step, ::step]
    return replace(
        image, flux=image.flux[every], variance=image.variance[every], mask=image.mask[every]
    )

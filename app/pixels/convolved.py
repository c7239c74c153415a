"""A masked image convolved with a kernel that varies over it, some rows at a time.

A pixel without data lends nothing; where part of the kernel lies on such pixels or outside the
image, the rest is renormalised. Working by rows keeps all intermediate planes small.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Protocol

import numpy as np
from numba import njit
from numpy.typing import NDArray

from app.pixels.bands import over_rows
from app.pixels.convolve import (
    LEAST_COVERAGE,
    TILE_PX,
    correlated,
    kernels_of_rows,
    or_window,
    padded_shape,
)
from app.pixels.image import MaskedImage, bits
from app.pixels.kernels import box_reach_px

Plane = NDArray[np.float32]
Floats = NDArray[np.float64]
Bits = NDArray[np.int32]

NO_DATA: Final = bits("NO_DATA")
EDGE: Final = bits("EDGE")
EDGE_SHARE: Final = 0.02
EXACT: Final = 1e-4
VARIANCE_SHARE: Final = 0.9999
"""The squared kernel is cut to the box that holds this share of its sum."""
_NO_MASK: Final[Bits] = np.empty((0, 0), dtype=np.int32)


class PlacedKernels(Protocol):
    """Kernels of one size."""

    def at(self, x: Floats, y: Floats) -> Floats:
        """The kernels (P, odd, odd) at P pixel positions."""


class VaryingKernel(PlacedKernels, Protocol):
    """Kernels of one size and one sum, such as :class:`app.pixels.kernels.MatchingKernel`."""

    def centre(self) -> Floats:
        """The kernel at the middle of the image."""

    def reach_px(self) -> int:
        """How far mask bits spread."""


def present_pixels(image: MaskedImage) -> NDArray[np.bool_]:
    """Where there is a value to convolve."""
    present: NDArray[np.bool_] = np.isfinite(image.flux) & np.isfinite(image.variance)
    present &= (image.mask & NO_DATA) == 0
    return present


@dataclass(frozen=True, slots=True)
class ConvolvedImage:
    """``image`` convolved with ``kernel``: flux, exact variance, mask over the kernel.

    Masks reach as far as the box that holds 99.5 % of |kernel|. A pixel flagged EDGE lacks part of
    its kernel; one that lacks half, or has no data itself, is NaN and NO_DATA.
    """

    image: MaskedImage
    kernel: VaryingKernel
    edge_share: float = EDGE_SHARE
    """A pixel whose kernel lacks more of its sum than this is an EDGE."""
    _centre: Floats = field(init=False, repr=False, compare=False)
    _reach_px: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_centre", self.kernel.centre())
        object.__setattr__(self, "_reach_px", self.kernel.reach_px())

    def rows(self, start: int, stop: int, *, variance: bool = True) -> MaskedImage:
        """One row of tiles, or a part of it. Without ``variance`` that plane is 0."""
        kernels = kernels_of_rows(self.kernel.at, start, stop, self.image.shape[1])
        half, rows = kernels.shape[1] // 2, stop - start
        shape = padded_shape(rows, self.image.shape[1], kernels)
        flux, present = np.zeros(shape, dtype=np.float32), np.zeros(shape, dtype=np.float32)
        reach = self._reach_px
        lent = np.zeros((rows + 2 * half, self.image.shape[1]), dtype=np.int32)
        planes = self.image.flux, self.image.variance, self.image.mask
        _gather(*planes, start - half, half, NO_DATA, ~(NO_DATA | EDGE), flux, present, lent)
        done = MaskedImage(
            correlated(flux, kernels, rows, self.image.shape[1]),
            self._variance(start, stop, kernels)
            if variance
            else np.zeros((rows, self.image.shape[1]), dtype=np.float32),
            or_window(lent[half - reach : half + rows + reach], reach)[reach : reach + rows],
        )
        share = correlated(present, kernels, rows, self.image.shape[1], ones=True)
        share /= np.float32(self._centre.sum())
        core = present[half : half + rows, half : half + self.image.shape[1]]
        _renormalise(
            done.flux, done.variance, done.mask, share, core, self.edge_share, EDGE, NO_DATA
        )
        return done

    def _variance(self, start: int, stop: int, kernels: Floats) -> Plane:
        """Convolved with the squared kernels, cut to what matters and scaled to the sum of all."""
        size = len(self._centre)
        cut = size // 2 - box_reach_px(self._centre**2, VARIANCE_SHARE)
        squares = kernels**2
        inner = squares[:, cut : size - cut, cut : size - cut]
        scale = squares.sum(axis=(1, 2)) / inner.sum(axis=(1, 2))
        rows, nx, half = stop - start, self.image.shape[1], inner.shape[1] // 2
        shape = padded_shape(rows, nx, inner)
        around, present = np.zeros(shape, dtype=np.float32), np.zeros(shape, dtype=np.float32)
        planes = self.image.variance, self.image.flux, self.image.mask
        _gather(*planes, start - half, half, NO_DATA, 0, around, present, _NO_MASK)
        return correlated(around, inner * scale[:, None, None], rows, nx)

    def whole(self) -> MaskedImage:
        """All rows."""
        shape = self.image.shape
        flux, variance = (np.empty(shape, dtype=np.float32) for _ in range(2))
        mask = np.empty(shape, dtype=np.int32)

        def rows(start: int, stop: int) -> None:
            done = self.rows(start, stop)
            flux[start:stop], variance[start:stop] = done.flux, done.variance
            mask[start:stop] = done.mask

        over_rows(rows, shape[0], band_rows=TILE_PX)
        return MaskedImage(flux, variance, mask, zero_point_mag=self.image.zero_point_mag)


@njit(cache=True, nogil=True)
def _gather(
    plane: Plane,
    other: Plane,
    mask: Bits,
    first: int,
    left: int,
    no_data: int,
    lends: int,
    out: Plane,
    present: Plane,
    lent: Bits,
) -> None:
    """Fill zeroed planes from the rows ``first`` on, ``left`` columns in: the values of ``plane``
    where both planes have one, 1 there, and what the mask lends (``lends`` elsewhere)."""
    ny, nx = plane.shape
    limit = np.float32(np.inf)
    for j in range(max(0, -first), min(len(out), ny - first)):
        values, others, bits_here = plane[first + j], other[first + j], mask[first + j]
        here, shown = out[j, left : left + nx], present[j, left : left + nx]
        for x in range(nx):
            told = (abs(values[x]) < limit) & (abs(others[x]) < limit)
            told &= bits_here[x] & no_data == 0
            here[x] = values[x] if told else np.float32(0.0)
            shown[x] = np.float32(1.0) if told else np.float32(0.0)
        if j < len(lent):
            for x in range(nx):
                lent[j, x] = bits_here[x] if shown[x] > 0 else bits_here[x] & lends


@njit(cache=True, nogil=True)
def _renormalise(
    flux: Plane,
    variance: Plane,
    mask: Bits,
    share: Plane,
    present: Plane,
    edge_share: float,
    edge: int,
    no_data: int,
) -> None:
    """Divide by the share of the kernel that lay on data, and flag what lacks some of it."""
    for y in range(share.shape[0]):
        for x in range(share.shape[1]):
            lacking = abs(share[y, x] - np.float32(1.0))
            if lacking < EXACT and present[y, x] > 0:
                continue
            if present[y, x] == 0 or share[y, x] < LEAST_COVERAGE:
                flux[y, x] = variance[y, x] = np.nan
                mask[y, x] |= no_data
            elif lacking >= EXACT:
                flux[y, x] /= share[y, x]
                variance[y, x] /= share[y, x] * share[y, x]
                if lacking > edge_share:
                    mask[y, x] |= edge

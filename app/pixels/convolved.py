"""A masked image convolved with a kernel that varies over it, some rows at a time.

A pixel without data lends nothing; where part of the kernel lies on such pixels or outside the
image, the rest is renormalised. Working by rows keeps all intermediate planes small.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from app.pixels.bands import over_rows
from app.pixels.convolve import (
    LEAST_COVERAGE,
    TILE_PX,
    convolve_strip,
    kernels_of_rows,
    or_window,
    rows_around,
)
from app.pixels.image import MaskedImage, bits
from app.pixels.kernels import box_reach_px

Plane = NDArray[np.float32]
Floats = NDArray[np.float64]

NO_DATA: Final = bits("NO_DATA")
EDGE: Final = bits("EDGE")
EDGE_SHARE: Final = 0.02
EXACT: Final = 1e-4
VARIANCE_SHARE: Final = 0.9999
"""The squared kernel is cut to the box that holds this share of its sum."""


class VaryingKernel(Protocol):
    """Kernels of one size and one sum, such as :class:`app.pixels.kernels.MatchingKernel`."""

    def at(self, x: Floats, y: Floats) -> Floats:
        """The kernels (P, odd, odd) at P pixel positions."""

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

    def rows(self, start: int, stop: int, *, variance: bool = True) -> MaskedImage:
        """One row of tiles, or a part of it. Without ``variance`` that plane is 0."""
        kernels = kernels_of_rows(self.kernel.at, start, stop, self.image.shape[1])
        half, rows = kernels.shape[1] // 2, stop - start
        around = MaskedImage(
            rows_around(self.image.flux, start, stop, half),
            rows_around(self.image.variance, start, stop, half),
            rows_around(self.image.mask, start, stop, half),
        )
        y = np.arange(start - half, stop + half)[:, None]
        present = present_pixels(around) & (y >= 0) & (y < self.image.shape[0])
        if variance:
            noise = self._variance(np.where(present, around.variance, np.float32(0.0)), kernels)
        else:
            noise = np.zeros((rows, self.image.shape[1]), dtype=np.float32)
        lent = np.where(present, around.mask, around.mask & ~(NO_DATA | EDGE))
        done = MaskedImage(
            convolve_strip(np.where(present, around.flux, np.float32(0.0)), kernels),
            noise,
            or_window(lent, self.kernel.reach_px())[half : half + rows],
        )
        share = convolve_strip(present.astype(np.float32), kernels, present=True)
        share /= np.float32(self.kernel.centre().sum())
        _renormalise(done, share, present[half : half + rows], self.edge_share)
        return done

    def _variance(self, variance: Plane, kernels: Floats) -> Plane:
        """Convolved with the squared kernels, cut to what matters and scaled to the sum of all."""
        centre = self.kernel.centre()
        cut = len(centre) // 2 - box_reach_px(centre**2, VARIANCE_SHARE)
        squares = kernels**2
        inner = squares[:, cut : len(centre) - cut, cut : len(centre) - cut]
        scale = squares.sum(axis=(1, 2)) / inner.sum(axis=(1, 2))
        return convolve_strip(variance[cut : len(variance) - cut], inner * scale[:, None, None])

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


def _renormalise(
    done: MaskedImage, share: Plane, present: NDArray[np.bool_], edge_share: float
) -> None:
    """Divide by the share of the kernel that lay on data, and flag what lacks some of it."""
    if present.all() and np.abs(share - 1.0).max() < EXACT:
        return
    share[np.abs(share - 1.0) < EXACT] = 1.0
    absent = ~present | (share < LEAST_COVERAGE)
    share[absent] = np.nan
    done.flux[:] /= share
    done.variance[:] /= share * share
    done.mask[np.abs(share - 1.0) > edge_share] |= EDGE
    done.mask[absent] |= NO_DATA

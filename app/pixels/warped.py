"""Exposures on the target grid, as stacks read them: by bands of rows, wherever they are kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from app.pixels.image import MaskedImage, lattice
from app.pixels.statistics import clipped_mean, thinned

Bounds = tuple[int, int, int, int]
"""Half-open (y_start, y_stop, x_start, x_stop)."""


class PixelSet(Protocol):
    """Some pixels of a grid, told by rows."""

    def rows(self, start: int, stop: int, nx: int) -> NDArray[np.bool_]:
        """(stop - start, nx): True at the pixels of the set in the rows ``start <= y < stop``."""


class Warped(Protocol):
    """One exposure on the target grid."""

    @property
    def shape(self) -> tuple[int, int]:
        """(ny, nx) of the target."""

    @property
    def bounds(self) -> Bounds:
        """The window outside of which every pixel is NO_DATA."""

    @property
    def fwhm_px(self) -> float | None:
        """FWHM of the PSF in target pixels, None when unknown."""

    @property
    def zero_point_mag(self) -> float | None:
        """AB magnitude of flux 1, None when unknown."""

    @property
    def weight(self) -> float:
        """1 / clipped mean of the variance (see :func:`input_weight`); 0: no usable pixel."""

    def rows(self, start: int, stop: int) -> MaskedImage:
        """The rows ``start <= y < stop`` in full width, NaN and NO_DATA outside the bounds.

        The planes may be shared with others: they are not to be written to.
        """


@dataclass(frozen=True, slots=True)
class InMemory:
    """A :class:`Warped` whose planes are held in memory."""

    image: MaskedImage
    weight: float
    bounds: Bounds

    @classmethod
    def of(cls, image: MaskedImage, bounds: Bounds | None = None) -> InMemory:
        """``image`` with its own weight; without ``bounds`` all of it may hold data."""
        ny, nx = image.shape
        return cls(image, input_weight(image), bounds or (0, ny, 0, nx))

    @property
    def shape(self) -> tuple[int, int]:
        """(ny, nx)."""
        return self.image.shape

    @property
    def fwhm_px(self) -> float | None:
        """Of the image."""
        return self.image.fwhm_px

    @property
    def zero_point_mag(self) -> float | None:
        """Of the image."""
        return self.image.zero_point_mag

    def rows(self, start: int, stop: int) -> MaskedImage:
        """Views of the rows."""
        return MaskedImage(
            self.image.flux[start:stop],
            self.image.variance[start:stop],
            self.image.mask[start:stop],
            fwhm_px=self.image.fwhm_px,
            zero_point_mag=self.image.zero_point_mag,
        )


def in_memory(images: Sequence[MaskedImage]) -> list[InMemory]:
    """Images of one grid, ready to be stacked."""
    return [InMemory.of(image) for image in images]


def input_weight(image: MaskedImage) -> float:
    """1 / clipped mean of the variance of usable pixels; 0 for an image without any."""
    for part in (lattice(image, 250_000), image):
        sample = part.variance[part.usable()]
        if sample.size:
            return 1.0 / clipped_mean(thinned(sample)).mean
    return 0.0

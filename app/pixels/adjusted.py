"""An exposure on the target grid with a scale and a smooth background applied as it is read."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from app.pixels.image import MaskedImage
from app.pixels.warped import Bounds, Warped


@dataclass(frozen=True, slots=True)
class Surface:
    """A polynomial of total degree ``order`` over a grid of ``shape`` (ny, nx).

    Terms are x^i y^j with x and y running from -1 to 1 over the grid, by degree, x first:
    1, x, y, x^2, x y, y^2, …
    """

    shape: tuple[int, int]
    order: int
    coefficients: tuple[float, ...]

    def rows(self, start: int, stop: int) -> NDArray[np.float32]:
        """Its values on rows of the grid, (stop - start, nx)."""
        ny, nx = self.shape
        y = unit_range(np.arange(start, stop), ny)[:, None]
        x = unit_range(np.arange(nx), nx)[None, :]
        total = np.zeros((stop - start, nx))
        for (i, j), coefficient in zip(powers(self.order), self.coefficients, strict=True):
            total += coefficient * x**i * y**j
        return total.astype(np.float32)


def unit_range(
    places: NDArray[np.integer] | NDArray[np.floating], size: int
) -> NDArray[np.float64]:
    """Pixel positions along an axis of ``size`` pixels, from -1 to 1."""
    return np.asarray(2.0 * (places + 0.5) / size - 1.0, dtype=np.float64)


def powers(order: int) -> list[tuple[int, int]]:
    """The powers (of x, of y) of the terms of a :class:`Surface`."""
    return [(degree - j, j) for degree in range(order + 1) for j in range(degree + 1)]


@dataclass(frozen=True, slots=True)
class Adjusted:
    """``warped`` times ``scale`` minus ``background``; a :class:`Warped` itself."""

    warped: Warped
    scale: float = 1.0
    background: Surface | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """(ny, nx) of the target."""
        return self.warped.shape

    @property
    def bounds(self) -> Bounds:
        """The window with data."""
        return self.warped.bounds

    @property
    def fwhm_px(self) -> float | None:
        """Of the exposure."""
        return self.warped.fwhm_px

    @property
    def zero_point_mag(self) -> float | None:
        """Of the exposure; None once it is scaled."""
        return self.warped.zero_point_mag if self.scale == 1.0 else None

    @property
    def weight(self) -> float:
        """1 / clipped mean of the variance, scaled."""
        return self.warped.weight / self.scale**2

    def rows(self, start: int, stop: int) -> MaskedImage:
        """The rows ``start <= y < stop`` in full width."""
        image, factor = self.warped.rows(start, stop), np.float32(self.scale)
        flux, variance = image.flux, image.variance
        if self.scale != 1.0:
            flux, variance = flux * factor, variance * (factor * factor)
        if self.background is not None:
            flux = flux - self.background.rows(start, stop)
        return replace(image, flux=flux, variance=variance, zero_point_mag=self.zero_point_mag)

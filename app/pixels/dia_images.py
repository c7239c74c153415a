"""What sources of a difference are measured on: the difference and the two images under it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from app.errors import CoverageError
from app.pixels.background import FIT_REJECT
from app.pixels.detect import gaussian_psf
from app.pixels.dia_equations import Pixels
from app.pixels.image import MaskedImage, bits, mark_usable
from app.pixels.kernels import FWHM_TO_SIGMA
from app.pixels.psf_coadd import CoaddPsf
from app.pixels.psf_field import Profile, PsfField
from app.pixels.psf_planes import psf_planes

Floats = NDArray[np.float64]

STAMP_FWHM: Final = 1.5
"""Half the side of the stamps that sources are measured on, in FWHM of the PSF."""
LEAST_HALF_PX: Final = 4
NO_DATA: Final = bits("NO_DATA")


@dataclass(frozen=True, slots=True)
class Layer:
    """An image and its PSF.

    ``peak`` is what a source of unit flux has in its middle pixel.
    ``level`` (flux units of a pixel) is what the image stands on and is taken off when a source is
    measured. Where the ``psf`` does not reach it is taken to be the typical one.
    """

    image: MaskedImage
    psf: CoaddPsf
    level: float = 0.0
    typical: Profile = field(init=False)
    fwhm_px: float = field(init=False)
    peak: float = field(init=False)

    def __post_init__(self) -> None:
        """Raises CoverageError when the PSF has no place or no width."""
        object.__setattr__(self, "typical", _typical_profile(self.psf))
        object.__setattr__(self, "fwhm_px", self.typical.shape().fwhm_px)
        object.__setattr__(self, "peak", float(self.typical.values(np.zeros(1), np.zeros(1))[0]))

    @property
    def sigma_px(self) -> float:
        """That of a Gaussian as wide as the PSF."""
        return self.fwhm_px * FWHM_TO_SIGMA

    @property
    def half_px(self) -> int:
        """Half the side of a stamp."""
        return int(max(LEAST_HALF_PX, math.ceil(STAMP_FWHM * self.fwhm_px)))

    def profile(self, x: float, y: float) -> Profile:
        """The PSF at a pixel position."""
        try:
            return self.psf.profile(x, y)
        except CoverageError:
            return self.typical


@dataclass(frozen=True, slots=True)
class DiaImages:
    """Three layers on one grid and one flux scale.

    ``science`` and ``template`` are as they were before the subtraction; the PSF of each layer is
    its own.
    """

    difference: Layer
    science: Layer
    template: Layer

    def beneath(self, x: float, y: float) -> tuple[Profile, Profile]:
        """The PSFs of science image and template at a pixel position; made once where they are the
        same."""
        science = self.science.profile(x, y)
        same = self.template.psf is self.science.psf
        return science, science if same else self.template.profile(x, y)


@dataclass(frozen=True, slots=True)
class Stamp:
    """Square planes around the pixel (``x``, ``y``). Off the image nothing is ``good`` and the mask
    says NO_DATA."""

    x: int
    y: int
    flux: Floats
    variance: Floats
    mask: NDArray[np.int64]
    good: NDArray[np.bool_]

    @property
    def pixels(self) -> Pixels:
        """What the sources on it are fitted to."""
        half = self.half_px
        return Pixels(self.flux, self.variance, self.good, (self.x - half, self.y - half))

    @property
    def half_px(self) -> int:
        """Half the side."""
        return len(self.flux) // 2

    def offsets(self, x: float, y: float) -> tuple[Floats, Floats]:
        """x and y of the pixels from a place on the image."""
        line = np.arange(-self.half_px, self.half_px + 1, dtype=np.float64)
        dx, dy = np.meshgrid(line + (self.x - x), line + (self.y - y))
        return dx, dy

    def psf(self, profile: Profile, x: float, y: float) -> Floats:
        """(3, side, side): the PSF of a source at a place of the image, and its slopes; see
        :func:`psf_planes`."""
        half, side = self.half_px, len(self.flux)
        return psf_planes(profile, self.x - half - x, self.y - half - y, (side, side))

    def square(self, x: float, y: float, half_px: int) -> tuple[slice, slice]:
        """Rows and columns of the stamp within ``half_px`` of a place of the image."""
        row, column = round(y) - self.y + self.half_px, round(x) - self.x + self.half_px
        return (
            slice(max(0, row - half_px), max(0, row + half_px + 1)),
            slice(max(0, column - half_px), max(0, column + half_px + 1)),
        )


def cut_stamp(layer: Layer, x: int, y: int, half_px: int) -> Stamp:
    """The (2 half + 1)² pixels around (x, y), level taken off; not usable ones are 0."""
    image = layer.image
    planes = _cut(image.flux, image.variance, image.mask, np.float32(layer.level), x, y, half_px)
    return Stamp(x, y, *planes)


@njit(cache=True, nogil=True)
def _cut(
    flux: NDArray[np.float32],
    variance: NDArray[np.float32],
    mask: NDArray[np.int32],
    level: np.float32,
    x: int,
    y: int,
    half_px: int,
) -> tuple[Floats, Floats, NDArray[np.int64], NDArray[np.bool_]]:
    (ny, nx), size = flux.shape, 2 * half_px + 1
    top, left = y - half_px, x - half_px
    stamp_flux, stamp_variance = np.zeros((size, size)), np.ones((size, size))
    stamp_mask = np.full((size, size), NO_DATA, dtype=np.int64)
    good = np.zeros((size, size), np.bool_)
    j0, j1 = min(max(0, -top), size), max(0, min(size, ny - top))
    i0, i1 = min(max(0, -left), size), max(0, min(size, nx - left))
    if j0 >= j1 or i0 >= i1:
        return stamp_flux, stamp_variance, stamp_mask, good
    inner = flux[top + j0 : top + j1, left + i0 : left + i1]
    noise = variance[top + j0 : top + j1, left + i0 : left + i1]
    planes = mask[top + j0 : top + j1, left + i0 : left + i1]
    mark_usable(inner, noise, planes, FIT_REJECT, good[j0:j1, i0:i1])
    for j in range(j0, j1):
        for i in range(i0, i1):
            stamp_mask[j, i] = planes[j - j0, i - i0]
            if good[j, i]:
                stamp_flux[j, i] = inner[j - j0, i - i0] - level
                stamp_variance[j, i] = noise[j - j0, i - i0]
    return stamp_flux, stamp_variance, stamp_mask, good


def gaussian_coadd_psf(fwhm_px: float, shape: tuple[int, int]) -> CoaddPsf:
    """The PSF of an image of ``shape`` of which no more than a width is known."""
    stamp = gaussian_psf(fwhm_px)
    return CoaddPsf.of_one(PsfField(stamp[None], 0, (0.0, 0.0), (1.0, 1.0)), shape)


def _typical_profile(psf: CoaddPsf) -> Profile:
    """At the place nearest to the middle. Raises CoverageError where no input is."""
    ny, nx = psf.shape
    x, y = psf.places()
    x, y = np.append(x, (nx - 1) / 2), np.append(y, (ny - 1) / 2)
    for n in np.argsort(np.hypot(x - (nx - 1) / 2, y - (ny - 1) / 2), kind="stable"):
        try:
            return psf.profile(float(x[n]), float(y[n]))
        except CoverageError:
            continue
    raise CoverageError("places with a PSF", 0, 1)

"""The filters of proper subtraction (Zackay, Ofek & Gal-Yam 2016, ApJ 830, 27).

With N the science image, R the template, their PSFs P_n and P_r, noises s_n and s_r and the flux
scale b (science per template flux), eq. 13 of the paper in units of the science image is
``D = A * N - B * R`` with

``A = q0 P_r / sqrt(Q)``, ``B = q0 b P_n / sqrt(Q)``,
``Q = s_n^2 |P_r|^2 + b^2 s_r^2 |P_n|^2``, ``q0 = sqrt(s_n^2 + b^2 s_r^2)``

as functions of the spatial frequency. Both reach a few PSF widths, so they are kept as kernels that
change with the position, as the PSFs do.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import scipy
from numpy.typing import NDArray

from app.errors import CoverageError
from app.pixels.kernels import box_reach_px
from app.pixels.psf_coadd import CoaddPsf
from app.pixels.psf_field import PsfField, field_terms, fit_stamps

Floats = NDArray[np.float64]

NODES: Final = 5
"""Places along an axis at which the filters are computed; between them a polynomial holds."""
DEGREE: Final = 2
LEAST_NODES: Final = 12
LEAST_HALF_PX: Final = 12
MOST_HALF_PX: Final = 24
HALF_PER_FWHM: Final = 3.0
SHARPENED: Final = 3e-4
"""Share of a point that is added to both PSFs: where neither has power the images then count by
their noise alone, and the filters stay short."""


@dataclass(frozen=True, slots=True)
class Noise:
    """Variance of a pixel of the science image and of the template, each in its own units."""

    science: float
    template: float


@dataclass(frozen=True, slots=True)
class KernelField:
    """Kernels that change over the image as polynomials: ``stamps`` (T, odd, odd)."""

    stamps: Floats
    degree: int
    zero: tuple[float, float]
    scale: tuple[float, float]

    def at(self, x: Floats, y: Floats) -> Floats:
        """The kernels (P, odd, odd) at P pixel positions."""
        terms = field_terms(self.degree, self.zero, self.scale, x, y)
        here: Floats = np.einsum("tp,tyx->pyx", terms, self.stamps)
        return here

    def centre(self) -> Floats:
        """The kernel at the middle of the image."""
        kernel: Floats = self.at(np.array([self.zero[0]]), np.array([self.zero[1]]))[0]
        return kernel

    def reach_px(self, share: float = 0.99) -> int:
        """Half width of the smallest box with ``share`` of the sum of its absolute values."""
        return box_reach_px(np.abs(self.centre()), share)


@dataclass(frozen=True, slots=True)
class Filters:
    """``science`` (A, of sum 1) and ``template`` (B, of sum b); ``psf`` of the difference."""

    science: KernelField
    template: KernelField
    psf: KernelField

    def psf_field(self) -> PsfField:
        """``psf`` as other PSFs are kept."""
        return PsfField(self.psf.stamps, self.psf.degree, self.psf.zero, self.psf.scale)


class PsfPair:
    """The PSFs of two images of one ``shape``, transformed at places all over them.

    ``fwhm_px`` is the width of the sharper one.
    """

    def __init__(self, science: CoaddPsf, template: CoaddPsf, shape: tuple[int, int]) -> None:
        """Raises CoverageError when no place has both."""
        widths = [psf.typical_shape().fwhm_px for psf in (science, template)]
        self.fwhm_px = min(widths)
        reach = math.ceil(HALF_PER_FWHM * max(widths))
        self._half = min(max(reach, LEAST_HALF_PX), MOST_HALF_PX)
        self._size = int(scipy.fft.next_fast_len(6 * self._half + 1))
        ny, nx = shape
        self._zero = (0.5 * (nx - 1), 0.5 * (ny - 1))
        self._scale = (0.5 * max(nx - 1, 1), 0.5 * max(ny - 1, 1))
        share = (np.arange(NODES) + 0.5) / NODES
        self._x: list[float] = []
        self._y: list[float] = []
        self._powers: list[tuple[Floats, Floats]] = []
        for x, y in ((x * nx - 0.5, y * ny - 0.5) for y in share for x in share):
            try:
                stamps = [psf.profile(x, y).stamp(2 * self._half) for psf in (science, template)]
            except CoverageError:
                continue
            self._x.append(x)
            self._y.append(y)
            self._powers.append((self._sharpened(stamps[0]), self._sharpened(stamps[1])))
        if not self._x:
            raise CoverageError("places with the PSF of both images", 0, 1)

    @property
    def half_px(self) -> int:
        """How far the filters reach."""
        return self._half

    def _sharpened(self, stamp: Floats) -> Floats:
        wide = np.zeros((self._size, self._size))
        wide[: stamp.shape[0], : stamp.shape[1]] = stamp
        power = scipy.fft.rfft2(np.roll(wide, (-2 * self._half, -2 * self._half), axis=(0, 1)))
        sharp: Floats = (power + SHARPENED) / (1.0 + SHARPENED)
        return sharp

    def filters(self, noise: Noise, scale: float, shift_px: tuple[float, float]) -> Filters:
        """For a flux ``scale`` and a template whose stars lie ``shift_px`` (x, y) beside."""
        along_y, along_x = (
            scipy.fft.fftfreq(self._size)[:, None],
            scipy.fft.rfftfreq(self._size)[None, :],
        )
        back = np.exp(2j * np.pi * (along_x * shift_px[0] + along_y * shift_px[1]))
        made = [self._at_node(noise, scale, back, *powers) for powers in self._powers]
        kept, turned, shown = (self._field(np.stack(stamps)) for stamps in zip(*made, strict=True))
        return Filters(kept, turned, shown)

    def _at_node(
        self, noise: Noise, scale: float, back: Floats, science: Floats, template: Floats
    ) -> tuple[Floats, Floats, Floats]:
        """A, B and the PSF of the difference at one place."""
        both = noise.science * np.abs(template) ** 2
        both += scale**2 * noise.template * np.abs(science) ** 2
        level = math.sqrt(noise.science + scale**2 * noise.template) / np.sqrt(both)
        parts = (level * template, scale * level * science * back, level * template * science)
        return self._image(parts[0]), self._image(parts[1]), self._image(parts[2])

    def _image(self, power: Floats) -> Floats:
        plane = scipy.fft.irfft2(power, s=(self._size, self._size))
        middle = np.roll(plane, (self._half, self._half), axis=(0, 1))
        return np.ascontiguousarray(middle[: 2 * self._half + 1, : 2 * self._half + 1])

    def _field(self, stamps: Floats) -> KernelField:
        degree = DEGREE if len(self._x) >= LEAST_NODES else 0
        place = (np.array(self._x), np.array(self._y))
        terms = field_terms(degree, self._zero, self._scale, *place)
        return KernelField(fit_stamps(terms, stamps), degree, self._zero, self._scale)

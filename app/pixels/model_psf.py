"""Exposures brought to one model PSF: a Gaussian a little broader than the worst of them.

The kernel that turns a PSF P into the model G is the one that leaves least of G - P * K, with K
itself held small (Tikhonov): in Fourier space conj(P) G / (|P|^2 + e). Where only a width is known
it is a Gaussian. It is kept as a few products of a column and a row, which convolve ten times as
fast as the whole stamp; what that leaves out is bounded by :data:`TOLERANCE`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from app.errors import CoverageError, ParameterError
from app.pixels.convolve import LEAST_COVERAGE
from app.pixels.image import MaskedImage, bits
from app.pixels.kernels import FWHM_TO_SIGMA
from app.pixels.psf_coadd import CoaddPsf
from app.pixels.separable import SeparableKernel, convolve_rows, from_stamp, gaussian_kernel
from app.pixels.warped import Bounds, Warped

Plane = NDArray[np.float32]
Floats = NDArray[np.float64]

MARGIN: Final = 1.1
"""The model is this much broader than the broadest exposure."""
TOLERANCE: Final = 5e-3
"""Share of a kernel's norm that may be left out of its products."""
DAMPING: Final = 1e-5
KERNEL_REACH: Final = 2.0
"""Of a kernel from a measured PSF, in model FWHMs: the wings of bright stars need it."""
NO_DATA: Final = bits("NO_DATA")


def model_fwhm_px(inputs: Sequence[Warped]) -> float | None:
    """FWHM (px) to which all inputs can be brought by smoothing; None when none is known."""
    known = [each.fwhm_px for each in inputs if each.fwhm_px is not None]
    return MARGIN * max(known) if known else None


def gaussian_match(fwhm_px: float, model_px: float) -> SeparableKernel:
    """From a Gaussian PSF to the model. Raises ParameterError when the model is the sharper one."""
    if model_px < fwhm_px:
        raise ParameterError(
            "model FWHM", f"{model_px:.2f} px is less than the {fwhm_px:.2f} px of an exposure"
        )
    return gaussian_kernel(float(np.sqrt(model_px**2 - fwhm_px**2)))


def psf_match(stamp: Floats, model_px: float) -> SeparableKernel:
    """From the PSF of ``stamp`` (odd, odd, unit sum) to the model. The kernel's sum is 1."""
    half = stamp.shape[0] // 2
    size = 4 * half + 1
    sigma = model_px * FWHM_TO_SIGMA
    line = np.exp(-0.5 * (np.arange(-2 * half, 2 * half + 1) / sigma) ** 2)
    model = np.outer(line, line) / line.sum() ** 2
    origin = np.zeros((size, size))
    origin[half : 3 * half + 1, half : 3 * half + 1] = stamp
    psf, wanted = (np.fft.rfft2(np.fft.ifftshift(plane)) for plane in (origin, model))
    ratio = np.conj(psf) * wanted / (np.abs(psf) ** 2 + DAMPING)
    whole = np.fft.fftshift(np.fft.irfft2(ratio, s=(size, size)))
    kernel = whole[half : 3 * half + 1, half : 3 * half + 1]
    found = from_stamp(kernel / kernel.sum(), tolerance=TOLERANCE)
    total = np.float32(found.stamp().sum())
    return SeparableKernel(found.columns / total, found.rows)


def coadd_psf_match(psf: CoaddPsf, model_px: float) -> SeparableKernel | None:
    """From a PSF, as it is at the middle of where it holds, to the model; None if there is none."""
    x, y = psf.components[0].region.mean(axis=0)
    try:
        stamp = psf.profile(float(x), float(y)).stamp(int(np.ceil(KERNEL_REACH * model_px)))
    except CoverageError:
        return None
    return psf_match(stamp, model_px)


@dataclass(frozen=True, slots=True)
class PsfMatched:
    """A :class:`app.pixels.warped.Warped` whose rows are convolved with ``kernel`` on the way.

    Pixels without a usable value lend nothing and the rest is renormalised; where they had half of
    the kernel or more, and at those pixels themselves, there is no data. Variance is propagated
    with the squared kernel (noise that neighbours share after warping is not followed); masks stay
    where they are.
    """

    origin: Warped
    kernel: SeparableKernel
    fwhm_px: float

    @property
    def shape(self) -> tuple[int, int]:
        """(ny, nx)."""
        return self.origin.shape

    @property
    def bounds(self) -> Bounds:
        """Those of the origin."""
        return self.origin.bounds

    @property
    def zero_point_mag(self) -> float | None:
        """That of the origin."""
        return self.origin.zero_point_mag

    @property
    def weight(self) -> float:
        """That of the origin over the power of the kernel."""
        return self.origin.weight / self.kernel.power

    def rows(self, start: int, stop: int) -> MaskedImage:
        """Rows of the convolved exposure."""
        half, ny = self.kernel.half_px, self.shape[0]
        first, last = max(0, start - half), min(ny, stop + half)
        image = self.origin.rows(first, last)
        frame = ((half - (start - first), half - (last - stop)), (0, 0))
        good = image.usable()
        flux = np.pad(np.where(good, image.flux, np.float32(0)), frame)
        noise = np.pad(np.where(good, image.variance, np.float32(0)), frame)
        share = convolve_rows(np.pad(good.astype(np.float32), frame), self.kernel)
        own = slice(start - first, stop - first)
        held = good[own] & (share >= LEAST_COVERAGE)
        divisor = np.where(held, share, np.float32(np.nan))
        mask = image.mask[own] | np.where(held, 0, NO_DATA)
        return MaskedImage(
            (convolve_rows(flux, self.kernel) / divisor).astype(np.float32),
            (convolve_rows(noise, self._squared()) / divisor**2).astype(np.float32),
            mask.astype(np.int32),
            fwhm_px=self.fwhm_px,
            zero_point_mag=self.zero_point_mag,
        )

    def _squared(self) -> SeparableKernel:
        return from_stamp(self.kernel.stamp() ** 2, tolerance=TOLERANCE)

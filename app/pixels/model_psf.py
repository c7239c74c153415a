"""The PSF that exposures of different seeing are brought to, and the kernels that do it.

The kernel that turns a PSF P into the model G is the one that leaves least of G - P * K, with K
itself held small (Tikhonov): in Fourier space conj(P) G / (|P|^2 + e). Where only a width is known
P is a Gaussian.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final, Literal, get_args

import numpy as np
import scipy
from numpy.typing import NDArray

from app.errors import CoverageError, ParameterError
from app.pixels.kernels import FWHM_TO_SIGMA
from app.pixels.psf_coadd import CoaddPsf
from app.pixels.separable import SeparableKernel, from_stamp, gaussian_kernel
from app.pixels.warped import Warped

Floats = NDArray[np.float64]
ModelProfile = Literal["gaussian", "doublegaussian"]
PROFILES: Final = get_args(ModelProfile)

MARGIN: Final = 1.1
"""The model is this much broader than the broadest exposure."""
TOLERANCE: Final = 5e-3
"""Share of a kernel's norm that may be left out of its products."""
DAMPING: Final = 1e-5
KERNEL_REACH: Final = 2.0
"""Of a kernel from a measured PSF, in model FWHMs: the wings of bright stars need it."""
WINGED_REACH: Final = 3.0
WING_AMPLITUDE: Final = 0.1
WING_WIDTH: Final = 2.5
"""The second Gaussian of a double one in terms of the first, as in Rubin's models of PSFs
(lsst.meas.algorithms GaussianPsfFactory)."""


def _double_gaussian(radius: float | Floats) -> float | Floats:
    """At a radius in sigmas of the first Gaussian, whose peak is 1."""
    return np.exp(-0.5 * radius**2) + WING_AMPLITUDE * np.exp(-0.5 * (radius / WING_WIDTH) ** 2)


@cache
def _half_radius() -> float:
    """Where a double Gaussian falls to half its peak, in sigmas of the first."""
    half = 0.5 * (1.0 + WING_AMPLITUDE)
    return float(scipy.optimize.brentq(lambda r: _double_gaussian(r) - half, 1.0, 2.0))


@dataclass(frozen=True, slots=True)
class ModelPsf:
    """A round PSF of the given full width at half maximum (pixels)."""

    fwhm_px: float
    profile: ModelProfile = "gaussian"

    @property
    def reach_px(self) -> int:
        """Half size of the kernels that lead to it, and of its own stamp."""
        factor = KERNEL_REACH if self.profile == "gaussian" else WINGED_REACH
        return int(np.ceil(factor * self.fwhm_px))

    def stamp(self, half_px: int | None = None) -> Floats:
        """Unit-sum stamp (odd, odd), ``reach_px`` to each side unless ``half_px`` is given."""
        half = self.reach_px if half_px is None else half_px
        v, u = np.mgrid[-half : half + 1, -half : half + 1].astype(np.float64)
        if self.profile == "gaussian":
            plane = np.exp(-0.5 * (u * u + v * v) / (self.fwhm_px * FWHM_TO_SIGMA) ** 2)
        else:
            plane = _double_gaussian(np.hypot(u, v) * 2.0 * _half_radius() / self.fwhm_px)
        stamp: Floats = plane / plane.sum()
        return stamp


def matching_stamp(psf: Floats, model: ModelPsf, half_px: int) -> Floats:
    """The kernel (2 half + 1 square) of unit sum from a PSF (odd, odd; unit sum) to the model."""
    own = psf.shape[0] // 2
    middle = own + half_px
    origin = np.zeros((2 * middle + 1, 2 * middle + 1))
    origin[half_px : half_px + 2 * own + 1, half_px : half_px + 2 * own + 1] = psf
    seen, wanted = (
        np.fft.rfft2(np.fft.ifftshift(plane)) for plane in (origin, model.stamp(middle))
    )
    ratio = np.conj(seen) * wanted / (np.abs(seen) ** 2 + DAMPING)
    whole = np.fft.fftshift(np.fft.irfft2(ratio, s=origin.shape))
    kernel = whole[own : own + 2 * half_px + 1, own : own + 2 * half_px + 1]
    unit: Floats = kernel / kernel.sum()
    return unit


def model_fwhm_px(inputs: Sequence[Warped]) -> float | None:
    """FWHM (px) to which all inputs can be brought by smoothing; None when none is known."""
    known = [each.fwhm_px for each in inputs if each.fwhm_px is not None]
    return MARGIN * max(known) if known else None


def gaussian_match(fwhm_px: float, model_px: float) -> SeparableKernel:
    """From a Gaussian PSF to a Gaussian. Raises ParameterError when the model is the sharper."""
    if model_px < fwhm_px:
        raise ParameterError(
            "model FWHM", f"{model_px:.2f} px is less than the {fwhm_px:.2f} px of an exposure"
        )
    return gaussian_kernel(float(np.sqrt(model_px**2 - fwhm_px**2)))


def psf_match(stamp: Floats, model_px: float) -> SeparableKernel:
    """From the PSF of ``stamp`` (odd, odd, unit sum) to a Gaussian, by a kernel as large and of
    sum 1.

    It is kept as a few products of a column and a row, which convolve ten times as fast as the
    whole stamp; what that leaves out is bounded by :data:`TOLERANCE`.
    """
    kernel = matching_stamp(stamp, ModelPsf(model_px), stamp.shape[0] // 2)
    found = from_stamp(kernel, tolerance=TOLERANCE)
    total = np.float32(found.stamp().sum())
    return SeparableKernel(found.columns / total, found.rows)


def coadd_psf_match(psf: CoaddPsf, model_px: float) -> SeparableKernel | None:
    """From a PSF, as it is at the middle of where it holds, to a Gaussian; None if there is none.

    Good enough to tell artefacts by: elsewhere in the exposure it leaves a few per cent.
    """
    x, y = psf.components[0].region.mean(axis=0)
    try:
        stamp = psf.profile(float(x), float(y)).stamp(int(np.ceil(KERNEL_REACH * model_px)))
    except CoverageError:
        return None
    return psf_match(stamp, model_px)

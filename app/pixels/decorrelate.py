"""Whiten the noise of a difference image (Reiss & Lupton 2016, DMTN-021, eq. 1).

Convolving the template makes neighbouring pixels of ``D = S - K * T`` share the template's noise.
The filter ``psi(k) = sqrt((v_S + v_T k0^2) / (v_S + v_T |K(k)|^2))``, k0 the kernel sum and v the
mean variances, makes the noise white again and leaves fluxes as they are (psi(0) = 1). It is one
filter for the whole image: right where the ratio of the two variances is the typical one.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft2, next_fast_len, rfft2

from app.errors import CoverageError, ParameterError
from app.pixels.convolve import convolve, convolve_present, or_window
from app.pixels.image import MaskedImage, bits

Floats = NDArray[np.float64]

HALF_PX: Final = 15
NO_DATA: Final = bits("NO_DATA")


def whitening_filter(
    kernel: Floats, science_variance: float, template_variance: float, *, half_px: int = HALF_PX
) -> Floats:
    """psi as an image (2 half + 1 square), of sum 1.

    ``kernel`` is the matching kernel and ``template_variance`` that of the image it convolves (the
    other's is ``science_variance``), before convolution. Raises ParameterError unless the variances
    are positive.
    """
    for name, value in (("science", science_variance), ("template", template_variance)):
        if not (np.isfinite(value) and value > 0):
            raise ParameterError(f"{name}_variance", f"{value} is not a positive number")
    size = next_fast_len(4 * max(kernel.shape[0], 2 * half_px + 1))
    wide = np.zeros((size, size))
    wide[: kernel.shape[0], : kernel.shape[1]] = kernel
    power = np.abs(rfft2(wide)) ** 2
    total = float(kernel.sum()) ** 2
    ratio = (science_variance + template_variance * total) / (
        science_variance + template_variance * power
    )
    psi = np.roll(irfft2(np.sqrt(ratio), s=(size, size)), (half_px, half_px), axis=(0, 1))
    cut: Floats = psi[: 2 * half_px + 1, : 2 * half_px + 1]
    return cut / float(cut.sum())


def decorrelate(difference: MaskedImage, psi: Floats, variance_factor: float) -> MaskedImage:
    """The difference convolved with ``psi``; variance is scaled by ``variance_factor``.

    The factor is the ratio of white to single-pixel variance,
    ``(v_S + v_T k0^2) / (v_S + v_T sum K^2)`` (see :func:`white_variance_factor`). Masks reach as
    far as 99 % of |psi|. Raises CoverageError when nothing is left.
    """
    present = np.isfinite(difference.flux) & np.isfinite(difference.variance)
    flux, gain = convolve_present(difference.flux, present, psi, 1.0)
    smooth = convolve(np.where(present, difference.variance, np.float32(0.0)), _positive(psi))
    share = convolve(present.astype(np.float32), _positive(psi))
    absent = ~present | ~np.isfinite(flux) | (share < 0.5)
    if absent.all():
        raise CoverageError("pixels of the whitened difference", 0, 1)
    variance = smooth / np.where(absent, 1.0, share) * np.float32(variance_factor)
    mask = or_window(difference.mask & ~NO_DATA, _reach_px(psi))
    mask |= np.where(absent, NO_DATA, 0).astype(np.int32)
    mask |= np.where(np.abs(gain - 1.0) > 0.02, bits("EDGE"), 0).astype(np.int32)
    nothing = np.float32(np.nan)
    return replace(
        difference,
        flux=np.where(absent, nothing, flux).astype(np.float32),
        variance=np.where(absent, nothing, variance).astype(np.float32),
        mask=mask,
    )


def white_variance_factor(
    kernel: Floats, science_variance: float, template_variance: float
) -> float:
    """Variance of a whitened pixel over that of a pixel of the difference as subtracted."""
    white = science_variance + template_variance * float(kernel.sum()) ** 2
    return white / (science_variance + template_variance * float((kernel**2).sum()))


def _positive(psi: Floats) -> Floats:
    """psi^2 normalised: how the variances of neighbours mix in a whitened pixel."""
    weight: Floats = psi**2 / float((psi**2).sum())
    return weight


def _reach_px(psi: Floats) -> int:
    """Half width of the smallest box with 99 % of the sum of |psi|."""
    weight = np.abs(psi)
    half, total = int(psi.shape[0]) // 2, float(weight.sum())
    for reach in range(half):
        box = weight[half - reach : half + reach + 1, half - reach : half + reach + 1]
        if float(box.sum()) >= 0.99 * total:
            return reach
    return half

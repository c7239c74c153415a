"""Point sources on an image: matched-filter significance and PSF flux at a position.

For PSF P, flux D and variance V the significance of a point source is
``sum(P D / V) / sqrt(sum(P^2 / V))``. Its flux is measured with equal weights,
``sum(P D) / sum(P^2)``: a variance plane that holds the source's own photon noise would pull a
weighted flux down. Neighbouring pixels of resampled or convolved images share noise, so both errors
are scaled by the robust scatter that the significance map itself shows.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from app.errors import CoverageError, ParameterError
from app.pixels.background import FIT_REJECT, LEAST_PIXELS
from app.pixels.convolve import convolve
from app.pixels.image import MaskedImage
from app.pixels.kernels import gaussian_profile
from app.pixels.statistics import robust_sigma, thinned_where

Floats = NDArray[np.float64]
Plane = NDArray[np.float32]
LEAST_SHARE: Final = 0.5
"""A place is measured when the usable pixels hold this share of the PSF's power."""


def gaussian_psf(fwhm_px: float, *, dx: float = 0.0, dy: float = 0.0) -> Floats:
    """Unit-sum Gaussian stamp (odd, odd) of three FWHM across, its centre shifted by (dx, dy)."""
    if not (np.isfinite(fwhm_px) and fwhm_px > 0):
        raise ParameterError("fwhm_px", f"{fwhm_px} is not a positive number")
    along_x, along_y = (gaussian_profile(fwhm_px, shift_px=shift) for shift in (dx, dy))
    return np.outer(along_y, along_x)


def smooth(plane: NDArray[np.float32], fwhm_px: float, *, squared: bool = False) -> Plane:
    """``plane`` convolved with the Gaussian of :func:`gaussian_psf`, or with its square."""
    profile = gaussian_profile(fwhm_px)
    line = profile**2 if squared else profile
    return convolve(convolve(plane, line[None, :]), line[:, None])


def significance(
    image: MaskedImage, fwhm_px: float, *, psf: Floats | None = None, calibrate: bool = True
) -> NDArray[np.float32]:
    """Signal-to-noise (ny, nx) of a point source centred on each pixel; NaN where not measured.

    ``psf`` (odd, odd) replaces the Gaussian of ``fwhm_px``. With ``calibrate`` the map is divided
    by its robust scatter, so that pure noise has standard deviation 1 whatever its correlation.
    """
    stamp = gaussian_psf(fwhm_px) if psf is None else psf
    turned = stamp[::-1, ::-1]

    def matched(plane: Plane, squared: bool) -> Plane:
        if psf is None:
            return smooth(plane, fwhm_px, squared=squared)
        return convolve(plane, turned**2 if squared else turned)

    good = image.usable(FIT_REJECT)
    inverse = np.where(good, 1.0 / np.where(good, image.variance, 1.0), 0.0).astype(np.float32)
    signal = np.where(good, image.flux, 0.0).astype(np.float32) * inverse
    power = matched(inverse, True)
    share = matched(good.astype(np.float32), True) / np.float32((stamp**2).sum())
    measured = (share >= LEAST_SHARE) & (power > 0)
    root = np.sqrt(np.where(measured, power, 1.0))
    values = np.where(measured, matched(signal, False) / root, np.nan).astype(np.float32)
    if calibrate:
        values /= np.float32(map_scatter(values))
    return values


def map_scatter(values: NDArray[np.float32], blank: NDArray[np.bool_] | None = None) -> float:
    """Robust scatter of a significance map, of its ``blank`` pixels if these are given.

    Raises CoverageError when too little is measured.
    """
    measured = np.isfinite(values)
    if blank is not None:
        measured &= blank
    count = int(np.count_nonzero(measured))
    if count < LEAST_PIXELS:
        raise CoverageError("pixels of the significance map", count, LEAST_PIXELS)
    scatter = robust_sigma(thinned_where(values, measured, count))
    if not scatter > 0:
        raise CoverageError("scatter of the significance map", scatter, "more than 0")
    return scatter


def measure_at(
    image: MaskedImage,
    x: float,
    y: float,
    fwhm_px: float,
    *,
    psf: Floats | None = None,
    scatter: float | None = None,
) -> tuple[float, float]:
    """PSF flux and its error at a pixel position, in the image's flux units.

    ``psf`` is a unit-sum stamp already centred on the sub-pixel position (default: a Gaussian).
    ``scatter`` is the correlated-noise factor of the error, that of the uncalibrated
    :func:`significance` map (found here if not given). Raises CoverageError when the place is off
    the image or too few of its pixels are usable.
    """
    column, row = round(x), round(y)
    stamp = gaussian_psf(fwhm_px, dx=x - column, dy=y - row) if psf is None else psf
    half_y, half_x = stamp.shape[0] // 2, stamp.shape[1] // 2
    ny, nx = image.shape
    top, bottom = max(0, row - half_y), min(ny, row + half_y + 1)
    left, right = max(0, column - half_x), min(nx, column + half_x + 1)
    if top >= bottom or left >= right:
        raise CoverageError(f"pixels at ({x:.1f}, {y:.1f})", 0, 1)
    part = np.s_[top:bottom, left:right]
    profile = stamp[top - row + half_y : bottom - row + half_y, :]
    profile = profile[:, left - column + half_x : right - column + half_x]
    good = image.usable(FIT_REJECT)[part]
    share = float((profile[good] ** 2).sum() / (stamp**2).sum())
    if share < LEAST_SHARE:
        raise CoverageError(f"share of the PSF on usable pixels at ({x:.1f}, {y:.1f})", share, 0.5)
    power = float((profile[good] ** 2).sum())
    flux = float((profile[good] * image.flux[part][good]).sum() / power)
    noise = float(np.sqrt((profile[good] ** 2 * image.variance[part][good]).sum()) / power)
    if scatter is None:
        scatter = map_scatter(significance(image, fwhm_px, psf=psf, calibrate=False))
    return flux, scatter * noise

"""Measuring the PSF of an image, as a function of position, on its own stars.

An elliptical Moffat profile whose shape is a polynomial of the position (see
:mod:`app.pixels.psf_moffat`), and on top what all stars show in common beyond it
(:mod:`app.pixels.psf_hermite`). The order of the polynomial follows the number of stars.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from app.errors import CoverageError
from app.pixels.background import FIT_REJECT, Background, estimate_background
from app.pixels.image import MaskedImage
from app.pixels.kernels import polynomial_terms
from app.pixels.psf_field import Profile, Psf, PsfField, fit_field
from app.pixels.psf_hermite import fit_hermite, hermite_sum
from app.pixels.psf_moffat import (
    MoffatFit,
    StarPixels,
    cut_stars,
    fit_moffat,
    moffat,
    moffat_fwhm_px,
    start_moffat,
)
from app.pixels.psf_stars import FEW, Stars, find_stars
from app.pixels.statistics import robust_sigma

Floats = NDArray[np.float64]

ORDER_STARS: Final = (1, 10, 25)
"""Stars needed for a constant PSF, one that varies linearly, one that varies quadratically."""
MESH_PX: Final = 128
"""Cells of the sky level: so large that the wings of stars hardly raise it."""
FWHM_RANGE_PX: Final = (1.0, 30.0)
FINE_BELOW_PX: Final = 6.0
"""Sharper PSFs are sampled at half pixels."""
REACH_FWHM: Final = 4.0
CLIP_SIGMA: Final = 4.0
NODES: Final = 5
CLIP_ROUNDS: Final = 3
LEAST_COST: Final = 0.7
"""Stars are not left out for a cost for each pixel of twice what noise alone gives (0.35)."""


def measure_psf_field(image: MaskedImage) -> PsfField | None:
    """The PSF of ``image`` as its stars show it; None when it shows none."""
    good = image.usable(FIT_REJECT)
    try:
        background = estimate_background(image, mesh_px=MESH_PX, good=good)
    except CoverageError:
        return None
    stars = find_stars(image, background, good)
    fitted = _fit_agreeing(image, good, background, stars)
    if fitted is None:
        return None
    pixels, fit, order = fitted
    field = _field(image.shape, fit, order, fit_hermite(pixels, fit), len(pixels))
    try:
        width = middle_profile(field, image.shape).shape().fwhm_px
    except CoverageError:
        return None
    return field if FWHM_RANGE_PX[0] < width < FWHM_RANGE_PX[1] else None


def middle_profile(psf: Psf, shape: tuple[int, int]) -> Profile:
    """The PSF in the middle of an image of ``shape`` (ny, nx)."""
    ny, nx = shape
    return psf.profile(0.5 * (nx - 1), 0.5 * (ny - 1))


def measure_psf(image: MaskedImage) -> Profile | None:
    """The PSF in the middle of ``image``; None when it shows no stars."""
    field = measure_psf_field(image)
    return None if field is None else middle_profile(field, image.shape)


def measure_fwhm_px(image: MaskedImage) -> float | None:
    """FWHM of the stars in the middle of ``image``; None when it shows none."""
    profile = measure_psf(image)
    return None if profile is None else profile.shape().fwhm_px


def _fit_agreeing(
    image: MaskedImage,
    good: NDArray[np.bool_],
    background: Background,
    stars: Stars,
) -> tuple[StarPixels, MoffatFit, int] | None:
    """Fit, leave out the stars that disagree, fit again; None without stars.

    Returns the pixels of the stars kept, their fit and the order of its polynomials.
    """
    order = sum(len(stars) >= needed for needed in ORDER_STARS) - 1
    if order < 0:
        return None
    pixels = cut_stars(image, good, background, stars, order)
    fit = fit_moffat(pixels, start_moffat(pixels, stars))
    for _ in range(CLIP_ROUNDS):
        if fit is None or len(pixels) < FEW:
            break
        keep = _agreeing(fit)
        if keep.all():
            break
        pixels = pixels.chosen(keep)
        fit = fit_moffat(pixels, fit.chosen(keep))
    return None if fit is None else (pixels, fit, order)


def _agreeing(fit: MoffatFit) -> NDArray[np.bool_]:
    """Stars that the model fits as well as most, and which alone would not change its shape."""
    limit = float(np.median(fit.cost)) + CLIP_SIGMA * robust_sigma(fit.cost)
    keep: NDArray[np.bool_] = fit.cost <= max(limit, LEAST_COST)
    for own in fit.own.T:
        keep &= np.abs(own - np.median(own)) <= CLIP_SIGMA * max(robust_sigma(own), 1.0)
    return keep


def _field(
    image_shape: tuple[int, int], fit: MoffatFit, order: int, extra: Floats, stars: int
) -> PsfField:
    """The model as stamps times polynomials, of one degree more than the profile's shape."""
    ny, nx = image_shape
    x, y = (
        v.ravel() for v in np.meshgrid(np.linspace(0, nx - 1, NODES), np.linspace(0, ny - 1, NODES))
    )
    elements = fit.matrix(polynomial_terms(order, x, y, image_shape))
    fwhm = moffat_fwhm_px(elements[:, NODES * NODES // 2], fit.beta)
    sampling = 0.5 if fwhm < FINE_BELOW_PX else 1.0
    half = int(np.ceil(REACH_FWHM * fwhm / sampling))
    v, u = np.mgrid[-half : half + 1, -half : half + 1] * sampling
    profiles = np.empty((len(x), *u.shape))
    for n in range(len(x)):
        profile = moffat(elements[:, n], fit.beta, u, v)
        profile += profile[half, half] * hermite_sum(extra, elements[:, n], fit.beta, u, v)
        profiles[n] = profile / (profile.sum() * sampling**2)
    return fit_field(
        profiles,
        x,
        y,
        degree=order + 1 if order else 0,
        zero=(0.5 * (nx - 1), 0.5 * (ny - 1)),
        scale=(0.5 * nx, 0.5 * ny),
        sampling=sampling,
        stars=stars,
    )

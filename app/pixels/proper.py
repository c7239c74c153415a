"""Proper subtraction of two images on one grid (Zackay, Ofek & Gal-Yam 2016, ApJ 830, 27).

Neither image's PSF has to be the broader one, nothing is fitted but a scale, a shift and a
background, and sky noise stays white. It asks for the PSFs of both images; variance follows from
the squares of the filters (:mod:`app.pixels.proper_filters`), pixel by pixel.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from app.errors import CoverageError, RecipeError
from app.pixels.background import (
    FIT_REJECT,
    LEAST_PIXELS,
    noise_ratio,
    sky_level,
    source_free,
)
from app.pixels.convolve import convolve
from app.pixels.convolved import ConvolvedImage
from app.pixels.gaps import fill_defects
from app.pixels.image import MaskedImage, bits, lattice
from app.pixels.kernels import polynomial_terms
from app.pixels.matching import background_plane
from app.pixels.proper_filters import KernelField, Noise, PsfPair
from app.pixels.proper_stars import Registration, register
from app.pixels.psf_coadd import CoaddPsf
from app.pixels.subtract import DETECTIONS, difference_mask, mark_no_data

Floats = NDArray[np.float64]
Plane = NDArray[np.float32]

BLOCK_PX: Final = 16
LEAST_SHARE: Final = 0.5
"""A place has a score when pixels with data hold this share of the PSF's power."""
NO_DATA: Final = bits("NO_DATA")
EDGE: Final = bits("EDGE")


@dataclass(frozen=True, slots=True)
class NoiseCheck:
    """Whether the noise is as the variance tells.

    ``pull_sigma``: robust scatter of D / sqrt(V) on ``blank_pixels`` source-free pixels with V as
    propagated; ``variance_factor``: what V was multiplied by afterwards (1: not rescaled).
    """

    pull_sigma: float
    variance_factor: float
    blank_pixels: int


@dataclass(frozen=True, slots=True)
class ProperDifference:
    """``image`` on the scale of the science image, with its ``psf``, and what was subtracted.

    ``score`` (ny, nx): significance of a point source at each pixel (S_corr of the paper), NaN
    where too little was seen.
    """

    image: MaskedImage
    matched_template: MaskedImage
    score: Plane
    psf: CoaddPsf
    registration: Registration
    noise: NoiseCheck


def subtract_properly(
    science: MaskedImage,
    template: MaskedImage,
    science_psf: CoaddPsf,
    template_psf: CoaddPsf,
    *,
    background_order: int | None = 1,
    rescale_variance: bool = True,
    known_scale: float | None = None,
) -> ProperDifference:
    """Science minus template, with white noise.

    Scale and shift come from the stars of both, unless the scale (science flux per template flux)
    is known: the images then count as registered. The differential background is a polynomial of
    ``background_order``; None says that neither image has one. Masks reach as far as the filters
    do. With ``rescale_variance`` the variance is brought to the measured scatter, as resampled
    inputs need, whose pixels share noise.

    Raises RecipeError when shapes differ, KernelFitError when fewer than three stars are in both,
    CoverageError when no pixel has data in both or no place has both PSFs.
    """
    if science.shape != template.shape:
        raise RecipeError(f"science {science.shape} and template {template.shape} differ in shape")
    psfs = PsfPair(science_psf, template_psf, science.shape)
    skies = (0.0, 0.0)
    if background_order is not None:
        skies = (sky_level(science).mean, sky_level(template).mean)
    pair = _Pair.of(science, template, skies, psfs.fwhm_px)
    if known_scale is None:
        found = register(pair.science, pair.template, psfs, pair.noise, pair.first_scale())
    else:
        found = Registration(known_scale, 0.0, (0.0, 0.0), 0.0, 0)
    filters = psfs.filters(pair.noise, found.scale, found.shift_px)
    kept = _filtered(pair.science, filters.science)
    turned = _filtered(pair.template, filters.template)
    image = _difference(kept, turned, science.mask)
    blank = source_free(image)
    if background_order is not None:
        image = replace(image, flux=image.flux - _level(image, blank, background_order))
    noise = _noise_check(image, blank, rescale_variance)
    psf = CoaddPsf.of_one(filters.psf_field(), science.shape)
    fwhm_px, zero_point = psf.typical_shape().fwhm_px, science.zero_point_mag
    variance = (image.variance * np.float32(noise.variance_factor)).astype(np.float32)
    image = replace(image, variance=variance, fwhm_px=fwhm_px, zero_point_mag=zero_point)
    turned = replace(turned, fwhm_px=fwhm_px, zero_point_mag=zero_point)
    score = _score(image, turned, filters.psf, found.shift_scatter_px)
    return ProperDifference(image, turned, score, psf, found, noise)


@dataclass(frozen=True, slots=True)
class _Pair:
    """Both images above their sky, and the variance of their pixels."""

    science: MaskedImage
    template: MaskedImage
    noise: Noise

    @classmethod
    def of(
        cls,
        science: MaskedImage,
        template: MaskedImage,
        skies: tuple[float, float],
        fwhm_px: float,
    ) -> _Pair:
        return cls(
            _clean(science, skies[0], fwhm_px),
            _clean(template, skies[1], fwhm_px),
            Noise(_typical_variance(science), _typical_variance(template)),
        )

    def first_scale(self) -> float:
        """What the zero points say; 1 where one is not known."""
        points = (self.science.zero_point_mag, self.template.zero_point_mag)
        if points[0] is None or points[1] is None:
            return 1.0
        return float(10.0 ** (0.4 * (points[0] - points[1])))


def _typical_variance(image: MaskedImage) -> float:
    for part in (lattice(image), image):
        usable = part.usable()
        if usable.any():
            return float(np.median(part.variance[usable]))
    raise CoverageError("usable pixels", 0, 1)


def _clean(image: MaskedImage, sky: float, fwhm_px: float) -> MaskedImage:
    """Above the ``sky``, defects filled from beside: the filters would make rings of them."""
    return fill_defects(replace(image, flux=image.flux - np.float32(sky)), fwhm_px)


def _filtered(image: MaskedImage, kernel: KernelField) -> MaskedImage:
    """``image`` convolved: flux, exact variance, and the mask as far as the kernel reaches."""
    return ConvolvedImage(replace(image, mask=image.mask & ~DETECTIONS), kernel).whole()


def _difference(kept: MaskedImage, turned: MaskedImage, own: NDArray[np.int32]) -> MaskedImage:
    mask = difference_mask(kept.mask | (own & ~DETECTIONS), turned.mask)
    image = MaskedImage(kept.flux - turned.flux, kept.variance + turned.variance, mask)
    mark_no_data(image)
    return image


def _noise_check(image: MaskedImage, blank: NDArray[np.bool_], rescale: bool) -> NoiseCheck:
    """Without enough source-free pixels nothing is measured, and nothing rescaled."""
    count = int(np.count_nonzero(blank))
    if count < LEAST_PIXELS:
        return NoiseCheck(float("nan"), 1.0, count)
    pull = noise_ratio(image, blank)
    return NoiseCheck(pull, pull**2 if rescale and pull > 0 else 1.0, count)


def _level(image: MaskedImage, blank: NDArray[np.bool_], order: int) -> Plane:
    """The background that is left: a polynomial through the means of source-free blocks."""
    if not blank.any():
        raise CoverageError("source-free pixels of the difference", 0, 1)
    rows, columns = (np.arange(0, size, BLOCK_PX) for size in image.shape)
    count = _block_sums(blank.astype(np.float64), rows, columns)
    total = _block_sums(np.where(blank, image.flux, 0.0).astype(np.float64), rows, columns)
    middle = 0.5 * (BLOCK_PX - 1)
    y, x = np.meshgrid(rows + middle, columns + middle, indexing="ij")
    seen = count > 0
    terms = polynomial_terms(order, x[seen], y[seen], image.shape)
    weight = np.sqrt(count[seen])
    design, means = (terms * weight).T, total[seen] / weight
    coefficients, *_ = np.linalg.lstsq(design, means, rcond=None)
    return background_plane(np.asarray(coefficients, dtype=np.float64), order, image.shape)


def _block_sums(plane: Floats, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> Floats:
    sums: Floats = np.add.reduceat(np.add.reduceat(plane, rows, axis=0), columns, axis=1)
    return sums


def _score(
    image: MaskedImage, template: MaskedImage, psf: KernelField, shift_scatter_px: float
) -> Plane:
    """Significance of a point source, with the noise of sources and of their places (eqs. 25-31).

    The template's variance holds for the shift: ``s^2 |grad (P_D * B * R)|^2``.
    """
    good = image.usable(FIT_REJECT)

    def turned(x: Floats, y: Floats) -> Floats:
        return psf.at(x, y)[:, ::-1, ::-1]

    def matched(plane: Plane, *, squared: bool = False) -> Plane:
        kernel = (lambda x, y: turned(x, y) ** 2) if squared else turned
        return convolve(np.where(good, plane, np.float32(0.0)), kernel)

    noise = matched(image.variance, squared=True)
    by_y, by_x = np.gradient(matched(template.flux))
    noise += np.float32(shift_scatter_px**2) * (by_x**2 + by_y**2)
    power = float((psf.centre() ** 2).sum())
    share = matched(np.ones(image.shape, dtype=np.float32), squared=True) / np.float32(power)
    seen = (share >= LEAST_SHARE) & (noise > 0)
    score: Plane = np.where(
        seen, matched(image.flux) / np.sqrt(np.where(seen, noise, 1.0)), np.float32(np.nan)
    ).astype(np.float32)
    return score

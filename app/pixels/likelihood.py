"""The likelihood image of a difference: subtraction of a science image that went through its PSF.

As Rubin's AlardLuptonPreconvolveSubtract: the science image S is first correlated with its own PSF
P and the template T is matched to that, which is broader than any template of like seeing: kernels
need not sharpen. What is left, ``P * S - K * T - b``, has sources of the shape P * P. The filter
``(v_S + v_T k0²) / (v_S + v_T |K / P|²)`` (DMTN-021; k0 the kernel sum, v typical variances) then
makes it the likelihood of a point source in the noise of both images: in units of its error a pixel
tells how much a point source there stands out. Neighbouring pixels share noise, as they have to.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import scipy
from numpy.typing import NDArray

from app.errors import CoverageError, RecipeError
from app.pixels.convolve import TILE_PX, or_window, tile_middles
from app.pixels.convolved import ConvolvedImage
from app.pixels.decorrelate import (
    filter_field,
    filter_places,
    filtered_difference,
    filtered_psf,
    typical_variance,
)
from app.pixels.dia_score import Score
from app.pixels.gaps import fill_defects
from app.pixels.image import MaskedImage, bits
from app.pixels.kernels import ALARD_LUPTON, KernelForm, MatchingKernel, polynomial_terms
from app.pixels.matching import Match, SpatialOrder, match
from app.pixels.psf_coadd import CoaddPsf
from app.pixels.psf_field import fit_stamps
from app.pixels.subtract import Quality, subtract

Floats = NDArray[np.float64]
Plane = NDArray[np.float32]

HALF_PER_FWHM: Final = 2.0
LEAST_HALF_PX: Final = 4
MOST_HALF_PX: Final = 15
TAPER_FROM_FWHM: Final = 0.5
"""From here on the kernel falls to 0 at its edge: one that is cut leaves rings about bright stars
that no matching kernel follows."""
STAMPS_PER_TERM: Final = 36
"""Three times what white noise asks for: pixels of a smoothed image tell less."""
FILTER_HALF_PX: Final = 20
PLACES: Final = 5
LEAST_PLACES: Final = 12
MOST_ORDER: Final = 2
UNSEEN: Final = bits("SAT", "SAT_TEMPLATE", "NO_DATA", "EDGE")
"""Pixels that have no score; defects that are marked otherwise are filled."""
LOUD_SIGMA: Final = 4.0
LEAST_POWER: Final = 1e-8
"""Of a PSF at frequencies that it does not pass."""


@dataclass(frozen=True, slots=True)
class Likelihood:
    """``image`` in flux units of the science image, whose ``psf`` has unit flux: a source of flux F
    has a peak of F times that of the PSF. ``score``: it over its error, with a scatter of 1 where
    there is no source. ``match`` is that of the template with the science image after its PSF;
    in ``quality`` the pull is that of ``image``."""

    image: MaskedImage
    psf: CoaddPsf | None
    score: Score
    match: Match
    quality: Quality


def subtract_likelihood(
    science: MaskedImage,
    template: MaskedImage,
    psf: CoaddPsf,
    *,
    spatial_order: SpatialOrder = 0,
    background_order: int | None = 1,
    form: KernelForm = ALARD_LUPTON,
    candidates: Sequence[tuple[float, float]] | None = None,
) -> Likelihood:
    """The likelihood of point sources that are in ``science``, whose PSF is ``psf`` (sampled at its
    pixels), and not in ``template``.

    The variance is brought to the scatter that is measured, as resampled inputs need. Raises
    RecipeError when shapes differ, CoverageError where no place has a PSF or too few pixels are
    left, and what :func:`app.pixels.matching.match` raises.
    """
    if science.shape != template.shape:
        raise RecipeError(f"science {science.shape} and template {template.shape} differ in shape")
    turned, fwhm_px = psf_kernel(psf, science.shape), psf.typical_shape().fwhm_px
    noise = typical_variance(science), typical_variance(template)
    science, template = (fill_defects(each, fwhm_px) for each in (science, template))
    broad_px = math.sqrt(2.0) * fwhm_px
    smooth = replace(ConvolvedImage(science, turned).whole(), fwhm_px=broad_px)
    found = match(
        smooth,
        template,
        spatial_order=spatial_order,
        background_order=background_order,
        convolve="template",
        form=form,
        candidates=candidates,
        stamps_per_term=STAMPS_PER_TERM,
    )
    difference = subtract(smooth, template, found, rescale_variance=False)
    filters = _Filters.of(found.kernel, turned, noise)
    image = filtered_difference(difference, filters.kernel, filters.shares, "template")
    seen = image.usable(UNSEEN)
    noise_here = np.sqrt(np.where(seen, image.variance, np.float32(1.0)))
    pulls = np.where(seen, image.flux / noise_here, np.float32(np.nan))
    score = Score(pulls, 1.0).rescaled(seen)
    score = score.rescaled(_quiet(score.values, math.ceil(broad_px)))
    factor = score.scatter**2
    image.variance[:] *= np.float32(factor)
    quality = replace(
        difference.quality,
        pull_sigma=score.scatter,
        variance_factor=factor,
        bright_chi=difference.quality.bright_chi / score.scatter,
    )
    shown = filtered_psf(psf, _InTurn(turned, filters.kernel), (0, 0))
    return Likelihood(_with_width(image, shown), shown, score, found, quality)


def psf_kernel(psf: CoaddPsf, shape: tuple[int, int]) -> MatchingKernel:
    """Correlation with ``psf``, tapered at its edge, as a kernel over an image of ``shape``.

    Raises CoverageError where the PSF has no place or no width.
    """
    fwhm_px = psf.typical_shape().fwhm_px
    half = min(max(math.ceil(HALF_PER_FWHM * fwhm_px), LEAST_HALF_PX), MOST_HALF_PX)
    taper = _taper(half, TAPER_FROM_FWHM * fwhm_px)
    ny, nx = shape
    share = (np.arange(PLACES) + 0.5) / PLACES
    places, stamps = [], []
    for x, y in ((x * nx - 0.5, y * ny - 0.5) for y in share for x in share):
        try:
            stamp = psf.profile(x, y).stamp(half)[::-1, ::-1] * taper
        except CoverageError:
            continue
        stamps.append(stamp / stamp.sum())
        places.append((x, y))
    if not places:
        raise CoverageError("places with a PSF of the science image", 0, 1)
    order = MOST_ORDER if len(places) >= LEAST_PLACES else 0
    x, y = np.array(places).T
    terms = fit_stamps(polynomial_terms(order, x, y, shape), np.stack(stamps))
    return MatchingKernel(terms, np.eye(len(terms)), order, shape)


def _quiet(values: Plane, reach_px: int) -> NDArray[np.bool_]:
    """Pixels that have no source within reach."""
    with np.errstate(invalid="ignore"):
        loud = (np.abs(values) > LOUD_SIGMA).astype(np.int32)
    quiet: NDArray[np.bool_] = or_window(loud, reach_px) == 0
    return quiet


def _with_width(image: MaskedImage, psf: CoaddPsf | None) -> MaskedImage:
    return image if psf is None else replace(image, fwhm_px=psf.typical_shape().fwhm_px)


def _taper(half_px: int, start_px: float) -> Floats:
    """1 up to ``start_px``, then half a cosine down to 0 beyond the edge."""
    v, u = np.mgrid[-half_px : half_px + 1, -half_px : half_px + 1]
    share = (np.hypot(u, v) - start_px) / (half_px + 1 - start_px)
    return np.asarray(0.5 * (1.0 + np.cos(np.pi * np.clip(share, 0.0, 1.0))))


@dataclass(frozen=True, slots=True)
class _InTurn:
    """A kernel, then another."""

    first: MatchingKernel
    second: MatchingKernel

    def at(self, x: Floats, y: Floats) -> Floats:
        pairs = zip(self.first.at(x, y), self.second.at(x, y), strict=True)
        return np.stack([scipy.signal.fftconvolve(*pair) for pair in pairs])


@dataclass(frozen=True, slots=True)
class _Filters:
    """The ``kernel`` that makes a likelihood of a difference, of sum 1, and for each term of its
    polynomials what the variances of science and template (2) are multiplied by."""

    kernel: MatchingKernel
    factors: Floats

    @classmethod
    def of(
        cls, matching: MatchingKernel, turned: MatchingKernel, noise: tuple[float, float]
    ) -> _Filters:
        """``noise``: variances of science and template before both kernels."""
        lead = max(matching, turned, key=lambda each: each.order)
        x, y = filter_places(lead)
        kernels, psfs = matching.at(x, y), turned.at(x, y)
        made = [_filter(*pair, *noise) for pair in zip(kernels, psfs, strict=True)]
        field = filter_field(np.stack(made), x, y, lead)
        factors = [
            [
                (scipy.signal.fftconvolve(here, each) ** 2).sum() / (each**2).sum()
                for each in (psf, kernel)
            ]
            for here, psf, kernel in zip(field.at(x, y), psfs, kernels, strict=True)
        ]
        terms = polynomial_terms(lead.order, x, y, lead.shape)
        return cls(field, fit_stamps(terms, np.array(factors)[:, None, :])[:, 0])

    def shares(self, start: int, stop: int) -> Plane:
        """See :func:`app.pixels.decorrelate.filtered_difference`."""
        x = tile_middles(self.kernel.shape[1])
        y = np.full_like(x, 0.5 * (start + stop - 1))
        terms = polynomial_terms(self.kernel.order, x, y, self.kernel.shape)
        here = np.einsum("tn,tx->nx", self.factors, terms)
        return np.repeat(here, TILE_PX, axis=1)[:, : self.kernel.shape[1]].astype(np.float32)


def _filter(kernel: Floats, psf: Floats, science: float, template: float) -> Floats:
    """(v_S + v_T k0²) / (v_S + v_T |K / P|²) as an image of sum 1."""
    wide = 2 * FILTER_HALF_PX + 1
    size = scipy.fft.next_fast_len(2 * max(len(kernel), len(psf), wide))
    power, passed = (np.abs(scipy.fft.rfft2(each, s=(size, size))) ** 2 for each in (kernel, psf))
    beside = template * power / np.maximum(passed, LEAST_POWER)
    ratio = (science + template * float(kernel.sum()) ** 2) / (science + beside)
    image = np.roll(
        scipy.fft.irfft2(ratio, s=(size, size)), (FILTER_HALF_PX, FILTER_HALF_PX), axis=(0, 1)
    )
    cut: Floats = image[:wide, :wide]
    return cut / float(cut.sum())

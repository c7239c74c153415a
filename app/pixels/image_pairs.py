"""Two images on one grid, matched and subtracted: the masked-image forms.

Nothing is resampled: images of different sizes are refused.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from app.pixels.convolved import ConvolvedImage
from app.pixels.decorrelate import whiten
from app.pixels.image import MaskedImage
from app.pixels.kernels import ALARD_LUPTON, KernelForm, MatchingKernel
from app.pixels.matching import Convolve, Match, SpatialOrder, match
from app.pixels.subtract import DETECTIONS, Quality, subtract


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchOptions:
    """The options of :func:`app.pixels.matching.match`, and the FWHM of either image where it is
    not to be that of its pixels."""

    spatial_order: SpatialOrder = 0
    background_order: int | None = 1
    convolve: Convolve = "auto"
    form: KernelForm = ALARD_LUPTON
    candidates: Sequence[tuple[float, float]] | None = None
    science_fwhm_px: float | None = None
    template_fwhm_px: float | None = None

    def match(self, science: MaskedImage, template: MaskedImage) -> Match:
        """The kernel of a pair. Raises what :func:`app.pixels.matching.match` raises."""
        return match(
            replace(science, fwhm_px=self.science_fwhm_px or science.fwhm_px),
            replace(template, fwhm_px=self.template_fwhm_px or template.fwhm_px),
            spatial_order=self.spatial_order,
            background_order=self.background_order,
            convolve=self.convolve,
            form=self.form,
            candidates=self.candidates,
        )


DEFAULTS = MatchOptions()


@dataclass(frozen=True, slots=True)
class SubtractedImages:
    """``image``: science less matched template and background, on the scale of the science image;
    ``matched_template`` without the background; ``psi`` the filter that made the noise white, if
    that was asked for."""

    image: MaskedImage
    matched_template: MaskedImage
    match: Match
    quality: Quality
    psi: MatchingKernel | None


def match_images(
    science: MaskedImage, template: MaskedImage, options: MatchOptions = DEFAULTS
) -> tuple[MaskedImage, Match]:
    """``template`` as the kernel that it is convolved with makes it look like ``science``, on its
    flux scale and without the fitted background; and the match.

    The template is convolved whatever ``options`` say: where it is the broader one the kernel
    sharpens it, which :attr:`app.pixels.matching.Match.sharpens` tells. Raises RecipeError when
    shapes differ, KernelFitError and CoverageError when the pixels do not allow a match.
    """
    found = replace(options, convolve="template").match(science, template)
    done = ConvolvedImage(template, found.kernel).whole()
    done = replace(
        done,
        mask=done.mask & ~DETECTIONS,
        fwhm_px=found.science_fwhm_px,
        zero_point_mag=science.zero_point_mag,
    )
    return done, found


def subtract_images(
    science: MaskedImage,
    template: MaskedImage,
    options: MatchOptions = DEFAULTS,
    *,
    decorrelate: bool = True,
) -> SubtractedImages:
    """``science`` minus ``template`` matched to it, its variance brought to the measured scatter;
    with ``decorrelate`` its noise is made white.

    Raises RecipeError when shapes differ, KernelFitError and CoverageError when the pixels do not
    allow a match.
    """
    found = options.match(science, template)
    return subtract_matched(science, template, found, decorrelate=decorrelate)


def subtract_matched(
    science: MaskedImage, template: MaskedImage, found: Match, *, decorrelate: bool = True
) -> SubtractedImages:
    """What :func:`subtract_images` does with the match that was ``found``.

    Raises RecipeError when shapes differ, CoverageError when too few pixels are left.
    """
    plain = subtract(science, template, found, rescale_variance=not decorrelate)
    if not decorrelate:
        return SubtractedImages(plain.image, plain.matched_template, found, plain.quality, None)
    white = whiten(plain, science, template, found, rescale_variance=True)
    quality = replace(
        plain.quality,
        pull_sigma=white.pull_sigma,
        variance_factor=white.variance_factor,
        bright_chi=plain.quality.bright_chi / math.sqrt(white.variance_factor),
    )
    return SubtractedImages(white.image, plain.matched_template, found, quality, white.psi)

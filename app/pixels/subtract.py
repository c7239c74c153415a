"""Difference images: science minus matched template, with variance, mask and quality numbers.

With the template convolved, ``D = S - (K * T + b)`` and ``V = V_S + K^2 * V_T``; with the science
image convolved, ``D = (K * S + b - T) / sum K`` and ``V = (K^2 * V_S + V_T) / (sum K)^2``. Both are
on the science image's photometric scale. Pixels of D share noise where an image was convolved or
resampled before; the variance plane tells the scatter of single pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from app.errors import CoverageError, RecipeError
from app.pixels.background import LEAST_PIXELS, noise_ratio, source_free
from app.pixels.convolve import convolve, convolve_present, or_window
from app.pixels.image import MaskedImage, bits
from app.pixels.matching import Match

Plane = NDArray[np.float32]

NO_DATA: Final = bits("NO_DATA")
EDGE: Final = bits("EDGE")
FROM_TEMPLATE: Final = bits(
    "BAD", "CR", "SUSPECT", "EDGE", "HIGH_VARIANCE", "VIGNETTED", "STREAK", "BRIGHT_OBJECT"
)
"""Planes a template hands on as they are; its SAT becomes SAT_TEMPLATE, NO_DATA is handled apart.
That inputs were left out of it (CLIPPED, REJECTED, SENSOR_EDGE, INEXACT_PSF) is not handed on."""
DETECTIONS: Final = bits("DETECTED", "DETECTED_NEGATIVE")


@dataclass(frozen=True, slots=True)
class Quality:
    """How well a subtraction went.

    ``kernel_sum``: of the kernel as fitted; ``scale``: science flux per template flux;
    ``stamps_used``, ``stamps_rejected`` and ``stamp_chi``: see Match. ``pull_sigma``: robust
    scatter of D / sqrt(V) on source-free pixels with V as propagated; ``variance_factor``: what V
    was multiplied by afterwards (1: not rescaled); ``bright_chi``: rms of D / sqrt(V) on the
    template's brightest usable pixels, ``blank_pixels``: number of source-free pixels.
    """

    kernel_sum: float
    scale: float
    stamps_used: int
    stamps_rejected: int
    stamp_chi: float
    pull_sigma: float
    variance_factor: float
    bright_chi: float
    blank_pixels: int


@dataclass(frozen=True, slots=True)
class Difference:
    """The difference image, the template as it was subtracted, and quality numbers.

    Both images are on the science image's scale and zero point; ``matched_template`` is without
    the fitted background.
    """

    image: MaskedImage
    matched_template: MaskedImage
    quality: Quality


def subtract(
    science: MaskedImage, template: MaskedImage, match: Match, *, rescale_variance: bool = True
) -> Difference:
    """Science minus template matched by ``match``.

    With ``rescale_variance`` the variance is multiplied by the square of the measured scatter of
    source-free pixels, as resampled inputs need; the factor is in ``quality``. Where there are too
    few such pixels it is left. Raises RecipeError when shapes differ, CoverageError when no pixel
    has data in both.
    """
    if not science.shape == template.shape == match.kernel.shape:
        raise RecipeError(f"shapes differ: {science.shape}, {template.shape}, {match.kernel.shape}")
    if match.convolved == "template":
        matched = convolve_image(template, match)
        raw, matched_template = _subtract_template(science, matched, match)
    else:
        matched = convolve_image(science, match)
        raw, matched_template = _subtract_from_science(matched, template, match)
    if not np.isfinite(raw.flux).any():
        raise CoverageError("pixels with data in science and template", 0, 1)
    blank = source_free(raw) & ~_bright(matched_template)
    pull, factor = _variance_factor(raw, blank, rescale_variance)
    image = replace(raw, variance=(raw.variance * np.float32(factor)).astype(np.float32))
    quality = Quality(
        match.kernel.sum,
        match.scale,
        len(match.used),
        len(match.rejected),
        match.stamp_chi,
        pull,
        factor,
        _bright_chi(image, matched_template),
        int(np.count_nonzero(blank)),
    )
    return Difference(image, matched_template, quality)


def convolve_image(image: MaskedImage, match: Match) -> MaskedImage:
    """``image`` convolved with the matching kernel: flux, exact variance, mask over the kernel.

    Masks reach as far as the box that holds 99.5 % of |kernel|. Where part of the kernel lies on
    pixels without data the rest is renormalised and the pixel flagged EDGE.
    """
    kernel = match.kernel
    present = np.isfinite(image.flux) & np.isfinite(image.variance)
    present &= (image.mask & NO_DATA) == 0
    at = kernel.at if kernel.varies else kernel.centre()
    flux, gain = convolve_present(image.flux, present, at, kernel.sum)
    squared = (lambda x, y: kernel.at(x, y) ** 2) if kernel.varies else kernel.centre() ** 2
    noise = convolve(np.where(present, image.variance, np.float32(0.0)), squared)
    variance = (noise * gain * gain).astype(np.float32)
    absent = ~np.isfinite(flux) | ~present
    flux[absent] = np.nan
    variance[absent] = np.nan
    reach = kernel.reach_px()
    mask = or_window(image.mask & ~(NO_DATA | DETECTIONS), reach)
    mask |= np.where(gain > 1.02, EDGE, 0).astype(np.int32)
    mask |= np.where(absent, NO_DATA, 0).astype(np.int32)
    return MaskedImage(flux, variance, mask, zero_point_mag=image.zero_point_mag)


def _subtract_template(
    science: MaskedImage, matched: MaskedImage, match: Match
) -> tuple[MaskedImage, MaskedImage]:
    template = MaskedImage(
        matched.flux,
        matched.variance,
        matched.mask,
        fwhm_px=match.science_fwhm_px,
        zero_point_mag=science.zero_point_mag,
    )
    image = MaskedImage(
        science.flux - matched.flux - match.background_level(),
        science.variance + matched.variance,
        difference_mask(science.mask, matched.mask),
        fwhm_px=match.science_fwhm_px,
        zero_point_mag=science.zero_point_mag,
    )
    return with_no_data(image), template


def _subtract_from_science(
    matched: MaskedImage, template: MaskedImage, match: Match
) -> tuple[MaskedImage, MaskedImage]:
    scale = np.float32(match.scale)
    scaled = MaskedImage(
        template.flux * scale,
        template.variance * scale * scale,
        template.mask,
        fwhm_px=match.template_fwhm_px,
        zero_point_mag=matched.zero_point_mag,
    )
    image = MaskedImage(
        (matched.flux + match.background_level()) * scale - scaled.flux,
        matched.variance * scale * scale + scaled.variance,
        difference_mask(matched.mask, template.mask),
        fwhm_px=match.template_fwhm_px,
        zero_point_mag=matched.zero_point_mag,
    )
    return with_no_data(image), scaled


def difference_mask(science: NDArray[np.int32], template: NDArray[np.int32]) -> NDArray[np.int32]:
    saturated = np.where(template & bits("SAT"), bits("SAT_TEMPLATE"), 0)
    mask: NDArray[np.int32] = (
        (science & ~DETECTIONS) | (template & (FROM_TEMPLATE | NO_DATA)) | saturated
    ).astype(np.int32)
    return mask


def with_no_data(image: MaskedImage) -> MaskedImage:
    """NaN in both planes and NO_DATA wherever either image had no value."""
    none = ~np.isfinite(image.flux) | ~np.isfinite(image.variance) | ((image.mask & NO_DATA) != 0)
    return replace(
        image,
        flux=np.where(none, np.float32(np.nan), image.flux).astype(np.float32),
        variance=np.where(none, np.float32(np.nan), image.variance).astype(np.float32),
        mask=image.mask | np.where(none, NO_DATA, 0).astype(np.int32),
    )


def _bright(template: MaskedImage, threshold: float = 5.0) -> NDArray[np.bool_]:
    """Pixels within 4 px of where the matched template's flux exceeds ``threshold`` sigma."""
    try:
        shows = ~source_free(template, threshold=threshold)
    except CoverageError:
        return np.zeros(template.shape, dtype=np.bool_)
    return shows & template.usable(bits("NO_DATA"))


def _variance_factor(
    raw: MaskedImage, blank: NDArray[np.bool_], rescale: bool
) -> tuple[float, float]:
    """(measured pull scatter, factor to apply); (NaN, 1) without enough source-free pixels."""
    if np.count_nonzero(blank) < LEAST_PIXELS:
        return float("nan"), 1.0
    pull = noise_ratio(raw, blank)
    return pull, pull**2 if rescale and pull > 0 else 1.0


def _bright_chi(image: MaskedImage, template: MaskedImage) -> float:
    """rms of D / sqrt(V) where the matched template stands 20 sigma above its noise."""
    good = image.usable() & (image.mask & bits("SAT_TEMPLATE") == 0)
    with np.errstate(invalid="ignore"):
        bright = good & (template.flux > 20.0 * np.sqrt(image.variance))
    if not bright.any():
        return float("nan")
    pulls = image.flux[bright].astype(np.float64) / np.sqrt(image.variance[bright])
    return float(np.sqrt((pulls**2).mean()))

"""Difference images: science minus matched template, with variance, mask and quality numbers.

With the template convolved, ``D = S - (K * T + b)`` and ``V = V_S + K^2 * V_T``; with the science
image convolved, ``D = (K * S + b - T) / sum K`` and ``V = (K^2 * V_S + V_T) / (sum K)^2``. Both are
on the science image's photometric scale. Pixels of D share noise where an image was convolved or
resampled before; the variance plane tells the scatter of single pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from app.errors import CoverageError, RecipeError
from app.pixels.background import LEAST_PIXELS, noise_ratio, source_free
from app.pixels.bands import over_rows, side_by_side
from app.pixels.convolve import TILE_PX
from app.pixels.convolved import NO_DATA, ConvolvedImage, present_pixels
from app.pixels.image import MaskedImage, bits, has_value
from app.pixels.matching import Match

Plane = NDArray[np.float32]
Bits = NDArray[np.int32]

FROM_TEMPLATE: Final = bits(
    "BAD", "CR", "SUSPECT", "EDGE", "HIGH_VARIANCE", "VIGNETTED", "STREAK", "BRIGHT_OBJECT"
)
"""Planes a template hands on as they are; its SAT becomes SAT_TEMPLATE, NO_DATA is handled apart.
That inputs were left out of it (CLIPPED, REJECTED, SENSOR_EDGE, INEXACT_PSF) is not handed on."""
SAMPLE_PX: Final = 500_000
"""Noise is measured on about this many pixels."""
DETECTIONS: Final = bits("DETECTED", "DETECTED_NEGATIVE")


@dataclass(frozen=True, slots=True)
class Quality:
    """How well a subtraction went.

    ``kernel_sum``: of the kernel as fitted; ``scale``: science flux per template flux;
    ``stamps_used``, ``stamps_rejected`` and ``stamp_chi``: see Match. ``pull_sigma``: robust
    scatter of D / sqrt(V) on source-free pixels with V as propagated; ``variance_factor``: what V
    was multiplied by afterwards (1: not rescaled); ``bright_chi``: rms of D / sqrt(V) on the
    template's brightest usable pixels, ``blank_pixels``: number of source-free pixels. The last
    four are measured on a sample of the rows of a large image.
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
    the fitted background. ``blank`` marks the source-free pixels of the difference's
    :func:`row_sample`.
    """

    image: MaskedImage
    matched_template: MaskedImage
    quality: Quality
    blank: NDArray[np.bool_]


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
    raw, matched_template = _subtract(science, template, match)
    if not has_value(raw.flux):
        raise CoverageError("pixels with data in science and template", 0, 1)
    looked_at = row_sample(raw), row_sample(matched_template)
    blank = _blank_sky(*looked_at)
    (pull, factor), bright_chi = side_by_side(
        lambda: measure_noise(looked_at[0], blank, rescale_variance),
        lambda: _bright_chi(*looked_at),
    )
    scale_rows(raw.variance, factor)
    quality = Quality(
        match.kernel.sum,
        match.scale,
        len(match.used),
        len(match.rejected) + len(match.unfit),
        match.stamp_chi,
        pull,
        factor,
        bright_chi / math.sqrt(factor),
        int(np.count_nonzero(blank)),
    )
    return Difference(raw, matched_template, quality, blank)


def scale_rows(plane: Plane, factor: float) -> None:
    """Multiply a plane in place."""
    if factor == 1.0:
        return

    def rows(start: int, stop: int) -> None:
        plane[start:stop] *= np.float32(factor)

    over_rows(rows, len(plane))


def row_sample(image: MaskedImage) -> MaskedImage:
    """Some bands of rows, put together, of an image of more than SAMPLE_PX: enough to measure its
    noise."""
    ny, nx = image.shape
    bands, all_bands = -(-SAMPLE_PX // (TILE_PX * nx)), ny // TILE_PX
    if bands >= all_bands:
        return image
    first = np.arange(bands) * all_bands // bands * TILE_PX
    rows = (first[:, None] + np.arange(TILE_PX)).ravel()
    return replace(
        image, flux=image.flux[rows], variance=image.variance[rows], mask=image.mask[rows]
    )


def _subtract(
    science: MaskedImage, template: MaskedImage, match: Match
) -> tuple[MaskedImage, MaskedImage]:
    """The difference and the matched template, made by rows of tiles."""
    from_template = match.convolved == "template"
    kept = match.science_fwhm_px if from_template else match.template_fwhm_px
    image, matched = (_empty(science, kept) for _ in range(2))
    convolved = ConvolvedImage(template if from_template else science, match.kernel)
    other = science if from_template else template

    # D = a S - b T - c level
    scale = np.float32(match.scale)
    scales = (np.float32(1.0),) * 3 if from_template else (scale, scale, -scale)

    def rows(start: int, stop: int) -> None:
        part = slice(start, stop)
        pair = convolved.rows(start, stop), _rows(other, part)
        one, two = pair[::-1] if from_template else pair
        level = match.background_rows(start, stop)
        out, template_out = _rows(image, part), _rows(matched, part)
        _take_away(
            one.flux, one.variance, one.mask, two.flux, two.variance, two.mask, level, scales,
            (~DETECTIONS, bits("SAT"), bits("SAT_TEMPLATE"), FROM_TEMPLATE, NO_DATA),
            out.flux, out.variance, out.mask,
            template_out.flux, template_out.variance, template_out.mask,
        )  # fmt: skip

    over_rows(rows, science.shape[0], band_rows=TILE_PX)
    return image, matched


def _empty(science: MaskedImage, fwhm_px: float | None) -> MaskedImage:
    return MaskedImage(
        np.empty(science.shape, dtype=np.float32),
        np.empty(science.shape, dtype=np.float32),
        np.empty(science.shape, dtype=np.int32),
        fwhm_px=fwhm_px,
        zero_point_mag=science.zero_point_mag,
    )


def _rows(image: MaskedImage, part: slice) -> MaskedImage:
    """Views of some rows."""
    return MaskedImage(image.flux[part], image.variance[part], image.mask[part])


@njit(cache=True, nogil=True)
def _take_away(
    flux: Plane,
    variance: Plane,
    mask: Bits,
    other_flux: Plane,
    other_variance: Plane,
    other_mask: Bits,
    level: Plane,
    scales: tuple[np.float32, np.float32, np.float32],
    planes: tuple[int, int, int, int, int],
    image: Plane,
    noise: Plane,
    flags: Bits,
    template: Plane,
    template_noise: Plane,
    template_flags: Bits,
) -> None:
    """Fill the rows of a difference and of its matched template from those of both images, with
    masks as :func:`difference_mask` and pixels without data as :func:`mark_no_data` has them."""
    a, b, c = scales
    undetected, saturated, by_template, inherited, no_data = planes
    limit = np.float32(np.inf)
    for y in range(flux.shape[0]):
        for x in range(flux.shape[1]):
            template[y, x] = b * other_flux[y, x]
            template_noise[y, x] = b * b * other_variance[y, x]
            value = a * flux[y, x] - template[y, x] - c * level[y, x]
            spread = a * a * variance[y, x] + template_noise[y, x]
            theirs = other_mask[y, x] & undetected
            template_flags[y, x] = theirs
            both = (mask[y, x] & undetected) | (theirs & (inherited | no_data))
            both |= by_template if theirs & saturated else 0
            told = (abs(value) < limit) & (abs(spread) < limit) & (both & no_data == 0)
            image[y, x] = value if told else np.float32(np.nan)
            noise[y, x] = spread if told else np.float32(np.nan)
            flags[y, x] = both if told else both | no_data


def difference_mask(science: NDArray[np.int32], template: NDArray[np.int32]) -> NDArray[np.int32]:
    saturated = np.where(template & bits("SAT"), bits("SAT_TEMPLATE"), 0)
    mask: NDArray[np.int32] = (
        (science & ~DETECTIONS) | (template & (FROM_TEMPLATE | NO_DATA)) | saturated
    ).astype(np.int32)
    return mask


def mark_no_data(image: MaskedImage) -> None:
    """NaN in both planes and NO_DATA wherever either image had no value."""
    none = ~present_pixels(image)
    if none.any():
        image.flux[none] = np.nan
        image.variance[none] = np.nan
        image.mask[none] |= NO_DATA


def _blank_sky(
    image: MaskedImage, template: MaskedImage, *, threshold: float = 5.0
) -> NDArray[np.bool_]:
    """Source-free pixels of a difference ``image`` at least 4 px from where the matched template's
    flux exceeds ``threshold`` sigma."""

    def shown() -> NDArray[np.bool_] | None:
        try:
            return ~source_free(template, threshold=threshold)
        except CoverageError:
            return None

    blank, shows = side_by_side(lambda: source_free(image), shown)
    if shows is None:
        return blank
    clear: NDArray[np.bool_] = blank & ~(shows & template.usable(NO_DATA))
    return clear


def measure_noise(
    image: MaskedImage, blank: NDArray[np.bool_], rescale: bool
) -> tuple[float, float]:
    """(robust scatter of D / sqrt(V) on ``blank`` pixels, factor to apply to V).

    (NaN, 1) without enough of them; the factor is 1 unless ``rescale``.
    """
    if np.count_nonzero(blank) < LEAST_PIXELS:
        return float("nan"), 1.0
    pull = noise_ratio(image, blank)
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

"""Bring images to one photometric scale: by their zero points, or by what both show."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from app.errors import CoverageError, ParameterError, RecipeError
from app.pixels.background import FIT_REJECT, estimate_background
from app.pixels.candidates import find_sources
from app.pixels.image import MaskedImage
from app.pixels.kernels import FWHM_TO_SIGMA
from app.pixels.psf import measure_psf
from app.pixels.psf_field import Profile

Floats = NDArray[np.float64]

LEAST_STARS: Final = 5
LEAST_SIGNIFICANCE: Final = 20.0
FLOOR: Final = 0.005
"""Relative scatter of single ratios that flat fields and PSF differences leave."""


@dataclass(frozen=True, slots=True)
class Scale:
    """``value`` times an image's flux is the reference's flux; ``error`` is its standard error.

    ``stars`` is how many sources told it (0: it follows from zero points or from pixels).
    """

    value: float
    error: float
    stars: int
    method: Literal["zero_point", "stars", "pixels"]


def photometric_scale(
    image: MaskedImage,
    reference: MaskedImage,
    *,
    method: Literal["auto", "zero_point", "measured"] = "auto",
) -> Scale:
    """The scale that brings ``image`` to ``reference``'s zero point.

    ``auto`` takes the zero points when both are known, else measures on the pixels: both images
    must then be on one grid. Raises CoverageError when nothing bright enough is in both,
    RecipeError when shapes differ or a zero point that was asked for is unknown.
    """
    known = image.zero_point_mag is not None and reference.zero_point_mag is not None
    if method not in ("auto", "zero_point", "measured"):
        raise ParameterError("method", f"{method!r} is not one of auto, zero_point, measured")
    if method == "zero_point" and not known:
        raise RecipeError("a zero point is unknown")
    if known and method != "measured":
        return zero_point_scale(image, reference)
    return measured_scale(image, reference)


def zero_point_scale(image: MaskedImage, reference: MaskedImage) -> Scale:
    """10^(0.4 (zp_reference - zp_image)). Raises RecipeError when one is unknown."""
    if image.zero_point_mag is None or reference.zero_point_mag is None:
        raise RecipeError("a zero point is unknown")
    value = 10.0 ** (0.4 * (reference.zero_point_mag - image.zero_point_mag))
    return Scale(float(value), 0.0, 0, "zero_point")


def rescaled(image: MaskedImage, scale: float, zero_point_mag: float | None) -> MaskedImage:
    """``image`` with flux times ``scale``, variance times its square, and that zero point."""
    if not (np.isfinite(scale) and scale > 0):
        raise ParameterError("scale", f"{scale} is not a positive number")
    factor = np.float32(scale)
    return replace(
        image,
        flux=(image.flux * factor).astype(np.float32),
        variance=(image.variance * (factor * factor)).astype(np.float32),
        zero_point_mag=zero_point_mag,
    )


def measured_scale(image: MaskedImage, reference: MaskedImage) -> Scale:
    """Robust flux ratio reference / image of the sources both show.

    The sharper image is first smoothed to the other's seeing; a source's flux is the sum in a
    radius of one FWHM. With fewer than LEAST_STARS the ratio is that of all bright pixels.
    """
    if image.shape != reference.shape:
        raise RecipeError(f"images of shapes {image.shape} and {reference.shape} share no grid")
    first, second, fwhm_px = _same_seeing(image, reference)
    good = image.usable(FIT_REJECT) & reference.usable(FIT_REJECT)
    ratio, error = _star_ratios(image, reference, first, second, good, fwhm_px)
    if len(ratio) >= LEAST_STARS:
        value, value_error, count = _robust_ratio(ratio, error)
        return Scale(value, value_error, count, "stars")
    return _pixel_scale(image, reference, first, second, good)


def _same_seeing(image: MaskedImage, reference: MaskedImage) -> tuple[Floats, Floats, float]:
    """Both images above sky, the sharper smoothed to the other's width, and that FWHM."""
    models = (measure_psf(image), measure_psf(reference))
    planes = [
        np.where(each.usable(FIT_REJECT), each.flux - estimate_background(each).level, 0.0)
        for each in (image, reference)
    ]
    widths = [
        each.fwhm_px if model is None else model.shape().fwhm_px
        for each, model in zip((image, reference), models, strict=True)
    ]
    known = [width for width in widths if width is not None]
    if len(known) < 2:
        return planes[0], planes[1], max(known, default=4.0)
    sharp, broad = (0, 1) if known[0] < known[1] else (1, 0)
    smoothing = _smoothing_px(models[sharp], models[broad], (known[sharp], known[broad]))
    planes[sharp] = gaussian_filter(planes[sharp].astype(np.float64), smoothing)
    return planes[0], planes[1], known[broad]


def _smoothing_px(
    sharp: Profile | None, broad: Profile | None, widths: tuple[float, float]
) -> float:
    """Gaussian sigma that makes a one-FWHM aperture hold the same share of a star in both.

    Found from the PSF models (widths of profiles with wings do not add in quadrature as those of
    Gaussians do); without them from the widths.
    """
    high = float(np.sqrt(max(0.0, widths[1] ** 2 - widths[0] ** 2))) * FWHM_TO_SIGMA
    if sharp is None or broad is None:
        return high
    half = int(np.ceil(4.0 * widths[1]))
    v, u = np.mgrid[-half : half + 1, -half : half + 1]
    disc = u * u + v * v <= widths[1] ** 2
    wanted, stamp = float(broad.stamp(half)[disc].sum()), sharp.stamp(half)
    low, high = 0.0, 2.0 * high
    for _ in range(25):
        middle = 0.5 * (low + high)
        enough = float(gaussian_filter(stamp, middle)[disc].sum()) < wanted
        low, high = (low, middle) if enough else (middle, high)
    return 0.5 * (low + high)


def _star_ratios(
    image: MaskedImage,
    reference: MaskedImage,
    first: Floats,
    second: Floats,
    good: NDArray[np.bool_],
    fwhm_px: float,
) -> tuple[Floats, Floats]:
    """reference / image flux and its error for every source whose aperture is usable in both."""
    reach = max(2, int(np.ceil(fwhm_px)))
    v, u = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disc = u * u + v * v <= fwhm_px**2
    ny, nx = image.shape
    ratios, errors = [], []
    peaks = find_sources(reference, fwhm_px, LEAST_SIGNIFICANCE)
    for x, y in zip(peaks.x.tolist(), peaks.y.tolist(), strict=True):
        if min(x, y, nx - 1 - x, ny - 1 - y) < reach:
            continue
        box = np.s_[y - reach : y + reach + 1, x - reach : x + reach + 1]
        a, b = float(first[box][disc].sum()), float(second[box][disc].sum())
        if not good[box].all() or a <= 0 or b <= 0:
            continue
        noise = float(image.variance[box][disc].sum()) / a**2
        noise += float(reference.variance[box][disc].sum()) / b**2
        if noise < 0.1**2:
            ratios.append(b / a)
            errors.append(float(np.sqrt(noise + FLOOR**2)) * b / a)
    return np.array(ratios), np.array(errors)


def _robust_ratio(ratio: Floats, error: Floats) -> tuple[float, float, int]:
    """Weighted mean without outliers, its error from the scatter seen, and the number kept."""
    keep = np.ones(len(ratio), dtype=np.bool_)
    middle = float(np.median(ratio))
    for _ in range(20):
        pull = (ratio - middle) / error
        width = max(1.0, 1.4826 * float(np.median(np.abs(pull[keep]))))
        kept = np.abs(pull) <= 3.0 * width
        weight = kept / error**2
        middle = float((weight * ratio).sum() / weight.sum())
        if (kept == keep).all():
            break
        keep = kept
    weight = keep / error**2
    count = int(keep.sum())
    scatter = float((weight * (ratio - middle) ** 2).sum() / max(1, count - 1))
    return middle, float(np.sqrt(max(scatter, 1.0) / weight.sum())), count


def _pixel_scale(
    image: MaskedImage,
    reference: MaskedImage,
    first: Floats,
    second: Floats,
    good: NDArray[np.bool_],
) -> Scale:
    """Ratio from all pixels 5 sigma above the sky in both. Raises CoverageError with under 20."""
    bright = good & (first > 5.0 * np.sqrt(np.where(good, image.variance, 1.0)))
    bright &= second > 5.0 * np.sqrt(np.where(good, reference.variance, 1.0))
    count = int(bright.sum())
    if count < 20:
        raise CoverageError("bright pixels seen in both images", count, 20)
    a, b = first[bright], second[bright]
    error = np.sqrt(reference.variance[bright] / b**2 + image.variance[bright] / a**2)
    value, value_error, _ = _robust_ratio(b / a, np.hypot(error, 0.05) * b / a)
    return Scale(value, value_error, 0, "pixels")

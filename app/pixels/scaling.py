"""Bring images to one photometric scale: by a factor, or by what both show."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np
import scipy
from numpy.typing import NDArray

from app.errors import CoverageError, ParameterError, RecipeError
from app.pixels.background import FIT_REJECT, estimate_background
from app.pixels.candidates import find_sources
from app.pixels.image import MaskedImage
from app.pixels.kernels import FWHM_TO_SIGMA
from app.pixels.psf import measure_psf
from app.pixels.psf_field import Profile
from app.pixels.warped import Warped

Floats = NDArray[np.float64]

LEAST_STARS: Final = 5
LEAST_PIXELS: Final = 20
LEAST_SIGNIFICANCE: Final = 20.0
FLOOR: Final = 0.005
"""Relative scatter of single ratios that flat fields and PSF differences leave."""
BAND_ROWS: Final = 512
"""Rows that are held at a time."""
GUESS_FWHM_PX: Final = 4.0


@dataclass(frozen=True, slots=True)
class Scale:
    """``value`` times an image's flux is the reference's flux; ``error`` is its standard error.

    ``stars`` is how many sources told it (0: it follows from pixels).
    """

    value: float
    error: float
    stars: int
    method: Literal["stars", "pixels"]


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


def measured_scale(image: Warped, reference: Warped) -> Scale:
    """Robust flux ratio reference / image of the sources both show.

    The sharper image is first smoothed to the other's seeing; a source's flux is the sum in a
    radius of one FWHM. With fewer than LEAST_STARS the ratio is that of all bright pixels. Both are
    read by bands of rows, so that the memory taken depends on their width alone.

    Raises CoverageError when nothing bright enough is in both, RecipeError when shapes differ.
    """
    if image.shape != reference.shape:
        raise RecipeError(f"images of shapes {image.shape} and {reference.shape} share no grid")
    seeing = _Seeing.of(image, reference)
    found = [_star_ratios(pair, seeing.fwhm_px) for pair in _pairs(image, reference, seeing)]
    ratio, error = _joined(found)
    if len(ratio) >= LEAST_STARS:
        value, value_error, count = _robust_ratio(ratio, error)
        return Scale(value, value_error, count, "stars")
    ratio, error = _joined([_pixel_ratios(pair) for pair in _pairs(image, reference, seeing)])
    if len(ratio) < LEAST_PIXELS:
        raise CoverageError("bright pixels seen in both images", len(ratio), LEAST_PIXELS)
    value, value_error, _ = _robust_ratio(ratio, np.hypot(error, 0.05 * ratio))
    return Scale(value, value_error, 0, "pixels")


@dataclass(frozen=True, slots=True)
class _Seeing:
    """The Gaussian sigmas (px; 0: none) by which each of two images is smoothed to the broader
    one's FWHM."""

    smoothing_px: tuple[float, float]
    fwhm_px: float

    @classmethod
    def of(cls, image: Warped, reference: Warped) -> _Seeing:
        """From the stars in the middle rows of both; else from the widths that are known."""
        first, last = _common_rows(image, reference)
        start = max(first, (first + last - BAND_ROWS) // 2)
        rows = (start, min(last, start + BAND_ROWS))
        models = [measure_psf(each.rows(*rows)) for each in (image, reference)]
        widths = [
            each.fwhm_px if model is None else model.shape().fwhm_px
            for each, model in zip((image, reference), models, strict=True)
        ]
        known = [width for width in widths if width is not None]
        if len(known) < 2:
            return cls((0.0, 0.0), max(known, default=GUESS_FWHM_PX))
        sharp, broad = (0, 1) if known[0] < known[1] else (1, 0)
        sigma = _smoothing_px(models[sharp], models[broad], (known[sharp], known[broad]))
        return cls((sigma, 0.0) if sharp == 0 else (0.0, sigma), known[broad])

    @property
    def margin_px(self) -> int:
        """What is needed around a pixel."""
        return int(np.ceil(4.0 * max(self.smoothing_px) + 2.0 * self.fwhm_px))


@dataclass(frozen=True, slots=True)
class _Pair:
    """Rows of both images above sky and of one seeing; those of ``core`` are to be looked at."""

    image: MaskedImage
    reference: MaskedImage
    levels: tuple[Floats, Floats]
    good: NDArray[np.bool_]
    core: slice


def _common_rows(image: Warped, reference: Warped) -> tuple[int, int]:
    """Raises CoverageError when there is none."""
    first = max(image.bounds[0], reference.bounds[0])
    last = min(image.bounds[1], reference.bounds[1])
    if first >= last:
        raise CoverageError("bright pixels seen in both images", 0, LEAST_PIXELS)
    return first, last


def _pairs(image: Warped, reference: Warped, seeing: _Seeing) -> Iterator[_Pair]:
    """Band by band."""
    first, last = _common_rows(image, reference)
    for start in range(first, last, BAND_ROWS):
        stop = min(start + BAND_ROWS, last)
        low, high = max(first, start - seeing.margin_px), min(last, stop + seeing.margin_px)
        rows = image.rows(low, high), reference.rows(low, high)
        try:
            levels = [_above_sky(*each) for each in zip(rows, seeing.smoothing_px, strict=True)]
        except CoverageError:  # rows without sky
            continue
        good = rows[0].usable(FIT_REJECT) & rows[1].usable(FIT_REJECT)
        yield _Pair(*rows, (levels[0], levels[1]), good, slice(start - low, stop - low))


def _above_sky(image: MaskedImage, smoothing_px: float) -> Floats:
    """Raises CoverageError when too few pixels tell the sky."""
    good = image.usable(FIT_REJECT)
    plane = np.where(good, image.flux - estimate_background(image).level, 0.0)
    smooth = scipy.ndimage.gaussian_filter(plane, smoothing_px) if smoothing_px > 0 else plane
    return np.asarray(smooth, dtype=np.float64)


def _joined(parts: list[tuple[Floats, Floats]]) -> tuple[Floats, Floats]:
    ratios = [np.zeros(0), *(ratio for ratio, _ in parts)]
    errors = [np.zeros(0), *(error for _, error in parts)]
    return np.concatenate(ratios), np.concatenate(errors)


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
        enough = float(scipy.ndimage.gaussian_filter(stamp, middle)[disc].sum()) < wanted
        low, high = (low, middle) if enough else (middle, high)
    return 0.5 * (low + high)


def _star_ratios(pair: _Pair, fwhm_px: float) -> tuple[Floats, Floats]:
    """reference / image flux and its error for every source whose aperture is usable in both."""
    image, reference = pair.image, pair.reference
    (first, second), good = pair.levels, pair.good
    reach = max(2, int(np.ceil(fwhm_px)))
    v, u = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disc = u * u + v * v <= fwhm_px**2
    ny, nx = image.shape
    ratios, errors = [], []
    peaks = find_sources(reference, fwhm_px, LEAST_SIGNIFICANCE)
    for x, y in zip(peaks.x.tolist(), peaks.y.tolist(), strict=True):
        if min(x, y, nx - 1 - x, ny - 1 - y) < reach or not pair.core.start <= y < pair.core.stop:
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


def _pixel_ratios(pair: _Pair) -> tuple[Floats, Floats]:
    """reference / image flux and its error of all pixels 5 sigma above the sky in both."""
    first, second = (plane[pair.core] for plane in pair.levels)
    variances = [each.variance[pair.core] for each in (pair.image, pair.reference)]
    good = pair.good[pair.core]
    bright = good & (first > 5.0 * np.sqrt(np.where(good, variances[0], 1.0)))
    bright &= second > 5.0 * np.sqrt(np.where(good, variances[1], 1.0))
    a, b = first[bright], second[bright]
    error = np.sqrt(variances[1][bright] / b**2 + variances[0][bright] / a**2)
    return b / a, error * b / a

"""Stack masked images of one pixel grid: inverse-variance weighted mean, plain or clipped.

Flux is ``sum(w x) / sum(w)`` and variance ``sum(w^2 v) / (sum w)^2`` over the pixels used; ``w`` is
one number per input, 1 / clipped mean of its variance plane, so that the PSF of the stack does not
depend on brightness. The variance is right for inputs whose noise is independent of each other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter

from app.errors import CoverageError, ParameterError, RecipeError
from app.pixels.bands import over_rows
from app.pixels.image import MaskedImage, bits
from app.pixels.stack import add_rows, centre_rows, clip_rows
from app.pixels.statistics import clipped_mean, thinned
from app.pixels.warped import PixelSet, Warped

LEAST_FRACTION: Final = 0.3
UNKNOWN_FRACTION: Final = 0.6
"""Share of the local brightness by which inputs may differ unclipped, as flux scales and PSF shapes
do; the second where the seeing of an input is unknown. It grows with known seeing differences."""
SAT_FRACTION: Final = 0.1
"""A pixel is SAT when more than this share of its weight was rejected as SAT."""
NO_DATA: Final = bits("NO_DATA")

Statistic = Literal["mean", "meanclip", "median"]
STATISTICS: Final = get_args(Statistic)


@dataclass(frozen=True, slots=True)
class Coadd:
    """A stack and how it came about.

    ``n_image`` (ny, nx) int32 counts the good inputs of each pixel before clipping. ``weights`` and
    ``clipped_fraction`` have one number per input, in their order (weight 0: not used at all).
    """

    image: MaskedImage
    n_image: NDArray[np.int32]
    weights: tuple[float, ...]
    clipped_fraction: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class _Sums:
    """Running sums; the planes are those of :func:`app.pixels.stack.add_rows`."""

    sums: NDArray[np.float64]
    planes: NDArray[np.int32]


def coadd(
    inputs: Sequence[Warped],
    weights: Sequence[float] | None = None,
    *,
    statistic: Statistic = "meanclip",
    clip_sigma: float = 3.0,
    clip_iterations: int = 2,
    excluded: Sequence[PixelSet | None] = (),
) -> Coadd:
    """The weighted mean of ``inputs``, which share one grid, unit and zero point.

    ``meanclip`` leaves out values more than ``clip_sigma`` from the rest (around the median first,
    then around the clipped mean) beyond a share of the local brightness (0.3, more when seeing
    differs). ``median`` takes the unweighted median; its variance is pi/2 times the mean's where
    three inputs or more meet. ``excluded`` (nothing, or one entry for each input) names pixels
    that are left out of an input; they count as clipped. Mask: OR of the pixels used; NO_DATA
    where none was; CLIPPED, REJECTED, SENSOR_EDGE where an input was left out, and with any of
    those INEXACT_PSF.
    Raises CoverageError when no input has a usable pixel, RecipeError when shapes or zero points
    differ, ParameterError on an unknown statistic.
    """
    if statistic not in STATISTICS:
        raise ParameterError("statistic", f"{statistic!r} is not one of {', '.join(STATISTICS)}")
    return _stack(inputs, weights, statistic, clip_sigma, clip_iterations, excluded)


def _weight(image: Warped, weights: Sequence[float] | None, index: int) -> float:
    weight = image.weight if weights is None else float(weights[index])
    if not (math.isfinite(weight) and weight >= 0):
        raise ParameterError("weights", f"weight {index} is {weight}, not a number >= 0")
    return weight


def _stack(
    warped: Sequence[Warped],
    weights: Sequence[float] | None,
    statistic: Statistic,
    clip_sigma: float,
    clip_iterations: int,
    excluded: Sequence[PixelSet | None],
) -> Coadd:
    for each in warped:
        _check_alike(warped[0], each)
    every = [_weight(each, weights, index) for index, each in enumerate(warped)]
    chosen = [index for index, weight in enumerate(every) if weight > 0]
    if not chosen:
        raise CoverageError("images with usable pixels", 0, 1)
    ny, nx = warped[0].shape
    inputs = [replace(warped[index].rows(0, ny), fwhm_px=warped[index].fwhm_px) for index in chosen]
    used = np.array([every[index] for index in chosen])
    sums = _empty_sums(inputs[0].shape)
    clipped = np.zeros((len(inputs), *inputs[0].shape), dtype=np.bool_)
    sets = [excluded[index] if excluded else None for index in chosen]
    for n, left_out in enumerate(sets):
        if left_out is not None:
            clipped[n] = left_out.rows(0, ny, nx)
    if statistic != "mean":
        centres = _centres(inputs, used, clipped)
    if statistic == "meanclip":
        allowance = _allowance(centres, used, inputs)

    def rows(start: int, stop: int) -> None:
        part = np.s_[start:stop]
        flux, variance, good = _cube(inputs, start, stop)
        out = clipped[:, part]
        if statistic == "meanclip":
            more = np.zeros_like(out)
            clip_rows(
                flux,
                good & ~out,
                used,
                centres[0][part],
                centres[1][part],
                centres[2][part],
                allowance[part],
                clip_sigma,
                clip_iterations,
                more,
            )
            out |= more
        for n, image in enumerate(inputs):
            add_rows(
                flux[n],
                variance[n],
                image.mask[part],
                good[n],
                out[n],
                used[n],
                sums.sums[:, part],
                sums.planes[:, part],
            )

    over_rows(rows, inputs[0].shape[0])
    fractions = [0.0] * len(warped)
    for n, index in enumerate(chosen):
        good = inputs[n].usable()
        out, present = int((clipped[n] & good).sum()), int(good.sum())
        fractions[index] = out / max(1, present)
    kept = [(image.fwhm_px, weight) for image, weight in zip(warped, every, strict=True)]
    return _finish(sums, warped[0], kept, fractions, centres if statistic == "median" else None)


def _cube(
    inputs: Sequence[MaskedImage], start: int, stop: int
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
    """Flux, variance and goodness of some rows of every input, each (N, rows, nx)."""
    parts = [
        MaskedImage(i.flux[start:stop], i.variance[start:stop], i.mask[start:stop]) for i in inputs
    ]
    return (
        np.stack([part.flux for part in parts]).astype(np.float32, copy=False),
        np.stack([part.variance for part in parts]).astype(np.float32, copy=False),
        np.stack([part.usable() for part in parts]),
    )


def _centres(
    inputs: Sequence[MaskedImage],
    weights: NDArray[np.float64],
    left_out: NDArray[np.bool_],
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Median, scatter and unit variance of every pixel: see :func:`stack.centre_rows`."""
    planes = tuple(np.empty(inputs[0].shape, dtype=np.float32) for _ in range(3))

    def rows(start: int, stop: int) -> None:
        flux, variance, good = _cube(inputs, start, stop)
        good &= ~left_out[:, start:stop]
        centre_rows(flux, variance, good, weights, *(plane[start:stop] for plane in planes))

    over_rows(rows, inputs[0].shape[0])
    centre, scatter, unit_variance = planes
    return centre, scatter, unit_variance


def _allowance(
    centres: tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]],
    weights: NDArray[np.float64],
    inputs: Sequence[MaskedImage],
) -> NDArray[np.float32]:
    """A share of the brightness within about a PSF width, above sky and noise.

    The wings of a star differ between seeings by more than a share of their own brightness, but by
    less than that share of what stands a little nearer to the centre.
    """
    centre, _, unit_variance = centres
    sky = clipped_mean(thinned(centre[np.isfinite(centre)])).mean
    noise = np.sqrt(unit_variance / weights.sum())
    bright = np.nan_to_num(np.abs(centre - sky) - 3.0 * noise, nan=0.0)
    widths = [image.fwhm_px for image in inputs]
    reach = max(1, min(15, round(0.75 * max(width or 4.0 for width in widths))))
    near = maximum_filter(np.maximum(bright, 0.0), size=2 * reach + 1, mode="nearest")
    allowance: NDArray[np.float32] = (_fraction(widths) * near).astype(np.float32)
    return allowance


def _fraction(widths: Sequence[float | None]) -> float:
    """Peaks go as 1 / FWHM^2: how far those of the extremes lie from the median one, and 30 %."""
    known = [width for width in widths if width is not None]
    if len(known) < len(widths):
        return UNKNOWN_FRACTION
    fwhm = np.array(known)
    relative = np.abs((np.median(fwhm) / fwhm) ** 2 - 1.0).max()
    return max(LEAST_FRACTION, 1.3 * float(relative))


def _empty_sums(shape: tuple[int, int]) -> _Sums:
    return _Sums(np.zeros((5, *shape)), np.zeros((4, *shape), dtype=np.int32))


def _check_alike(first: Warped, image: Warped) -> None:
    """Raises RecipeError when two images cannot be stacked."""
    if image.shape != first.shape:
        raise RecipeError(f"images of shapes {first.shape} and {image.shape} cannot be stacked")
    known = (first.zero_point_mag, image.zero_point_mag)
    if None in known and known != (None, None):
        raise RecipeError(
            "images with and without a zero point cannot be stacked: scale them first"
        )
    if known[0] is not None and known[1] is not None and abs(known[0] - known[1]) > 1e-3:
        raise RecipeError(f"images have different zero points: {known[0]} and {known[1]} mag")


def _finish(
    sums: _Sums,
    first: Warped,
    kept: Sequence[tuple[float | None, float]],
    fractions: Sequence[float],
    centres: tuple[NDArray[np.float32], ...] | None,
) -> Coadd:
    """Means, variances and the final mask from the running sums."""
    total = sums.sums[2]
    used = total > 0
    if not used.any():
        raise CoverageError("pixels with a usable input", 0, 1)
    divisor = np.where(used, total, np.nan)
    flux, variance = sums.sums[0] / divisor, sums.sums[1] / divisor**2
    if centres is not None:
        flux, variance = np.where(used, centres[0], np.nan), 0.5 * np.pi * variance
    image = MaskedImage(
        flux.astype(np.float32),
        variance.astype(np.float32),
        _final_mask(sums, used),
        fwhm_px=combined_fwhm_px(kept),
        zero_point_mag=first.zero_point_mag,
    )
    weights = tuple(weight for _, weight in kept)
    return Coadd(image, sums.planes[3], weights, tuple(fractions))


def _final_mask(sums: _Sums, used: NDArray[np.bool_]) -> NDArray[np.int32]:
    seen, lost, flags, _ = sums.planes
    flagged = flags | np.where(flags != 0, bits("INEXACT_PSF"), 0)
    saturated = sums.sums[4] > SAT_FRACTION * np.maximum(sums.sums[3], 1e-300)
    with_data = seen | flagged | np.where(saturated, bits("SAT"), 0)
    mask: NDArray[np.int32] = np.where(used, with_data, lost | flagged | NO_DATA).astype(np.int32)
    return mask


def combined_fwhm_px(parts: Sequence[tuple[float | None, float]]) -> float | None:
    """FWHM of the weighted sum of unit-flux Gaussian PSFs given as (fwhm_px, weight).

    None when one of them is unknown.
    """
    known = [(fwhm, weight) for fwhm, weight in parts if weight > 0 and fwhm is not None]
    if not known or len(known) < sum(weight > 0 for _, weight in parts):
        return None
    fwhm = np.array([f for f, _ in known])
    amplitude = np.array([w for _, w in known]) / fwhm**2
    low, high = float(fwhm.min()), float(fwhm.max())
    for _ in range(60):
        middle = 0.5 * (low + high)
        profile = float((amplitude * np.exp2(-((middle / fwhm) ** 2))).sum())
        low, high = (middle, high) if profile > 0.5 * amplitude.sum() else (low, middle)
    return 0.5 * (low + high)

"""What a build will give, told from its plan alone: weights, coverage, noise, depth, PSF width.

Nothing is read but what ingest noted of each image. Weights are inverse variances of a pixel on
the target: the image's noise brought to the common flux scale, times the squared ratio of the
pixel areas (flux is conserved) and the mean sum of squared weights of the resampling kernel. Of an
image whose noise is not known the sky is taken for the limit, so that its variance in flux units
grows with the exposure time. Which pixels are masked is not known, only what share of them: it is
taken as spread evenly over the image.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

import numpy as np
import scipy
from numpy.typing import NDArray

from app.pixels.grid import Grid
from app.pixels.model_psf import MARGIN
from app.pixels.stack import median_loss
from app.pixels.stencil import stencil_table
from app.recipes.photometry import common_zero_point, flux_factor, point_source_depth_mag
from app.recipes.recipe import BuildPlan, ImageRef

CELLS: Final = 32
"""Along the longer side of the coverage map."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class InputForecast:
    """One input: its share of the weights, noise (common flux unit, target pixel) where known."""

    ref: ImageRef
    exposure: str
    weight: float
    scale: float
    noise: float | None


@dataclass(frozen=True, slots=True)
class Coverage:
    """Cells of ``cell_px`` target pixels: (rows, columns) of how many exposures their middles
    have and the noise there (infinite where there is none)."""

    cell_px: int
    n_exposures: NDArray[np.int32]
    noise: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """Numbers of the template; of a difference those of the image it makes.

    ``noise`` is the median standard deviation of a covered pixel, in flux units of
    ``zero_point_mag``; a difference adds the noise of template and science image, an upper limit
    where the matching kernel smooths the template. Noise and depth of PSF-matched inputs are not
    told: their noise is correlated.
    """

    inputs: tuple[InputForecast, ...]
    coverage: Coverage
    covered_fraction: float
    median_n_exposures: float
    fwhm_arcsec: float | None
    zero_point_mag: float | None
    noise: float | None
    depth_mag: float | None


def forecast(plan: BuildPlan) -> Forecast:
    """What the build of ``plan`` will give."""
    target = Grid.from_text(plan.recipe.grid)
    zero_point_mag = common_zero_point(plan.inputs, plan.science)
    known, variances = _variances(plan, target, zero_point_mag)
    weights = {name: 1.0 / variance for name, variance in variances.items()}
    coverage = _coverage(plan, target, weights)
    covered = coverage.n_exposures > 0
    noise = None
    if known and zero_point_mag is not None and covered.any():
        noise = float(np.median(coverage.noise[covered]))
    fwhm = _fwhm_arcsec(plan.inputs, weights)
    if plan.recipe.template.warp == "psfmatched":
        asked = plan.recipe.template.model_fwhm_arcsec
        fwhm, noise = asked or _model_fwhm_arcsec(plan.inputs), None
    if plan.science is not None:
        noise = _added(noise, plan.science)
        fwhm = max((w for w in (fwhm, plan.science.fwhm_arcsec) if w is not None), default=None)
    depth = None
    if noise is not None and fwhm is not None and zero_point_mag is not None:
        depth = point_source_depth_mag(noise, fwhm / target.pixel_scale_arcsec, zero_point_mag)
    return Forecast(
        inputs=_inputs(plan, known, weights, zero_point_mag),
        coverage=coverage,
        covered_fraction=float(covered.mean()),
        median_n_exposures=float(np.median(coverage.n_exposures[covered])) if covered.any() else 0,
        fwhm_arcsec=fwhm,
        zero_point_mag=zero_point_mag,
        noise=noise,
        depth_mag=depth,
    )


def _variances(
    plan: BuildPlan, target: Grid, zero_point_mag: float | None
) -> tuple[frozenset[str], dict[str, float]]:
    """Identifiers of the inputs of known noise, and the variance of each input in a target
    pixel (relative to each other when none is known)."""
    smoothing = _squared_weights(plan.recipe.template.kernel)
    per_noise: dict[str, float] = {}
    sky_limited: dict[str, float] = {}
    for ref in plan.inputs:
        area = (target.pixel_scale_arcsec / Grid.from_text(ref.grid).pixel_scale_arcsec) ** 2
        factor = (flux_factor(ref, zero_point_mag) * area) ** 2 * smoothing
        sky_limited[ref.dataset_id] = (ref.exposure_s or 1.0) * factor
        if ref.noise is not None:
            per_noise[ref.dataset_id] = ref.noise**2 * factor
    rates = [variance / sky_limited[name] for name, variance in per_noise.items()]
    rate = median(rates) if rates else 1.0
    found = {name: per_noise.get(name, rate * value) for name, value in sky_limited.items()}
    return frozenset(per_noise), found


def _squared_weights(kernel: str) -> float:
    """Mean over all phases of the sum of the squared weights of a separable kernel."""
    table = stencil_table(kernel).astype(np.float64)
    return float((table[:-1] ** 2).sum(axis=1).mean()) ** 2


def _coverage(plan: BuildPlan, target: Grid, weights: Mapping[str, float]) -> Coverage:
    ny, nx = target.shape
    cell = max(1, math.ceil(max(ny, nx) / CELLS))
    y, x = (np.arange(0, size, cell, dtype=np.float64) for size in (ny, nx))
    middle_y = np.minimum(y + (cell - 1) / 2, ny - 1)
    middle_x = np.minimum(x + (cell - 1) / 2, nx - 1)
    lon, lat = target.pixel_to_sky(middle_x[None, :], middle_y[:, None])
    total, roots, images = np.zeros(lon.shape), np.zeros(lon.shape), np.zeros(lon.shape)
    seen: dict[str, NDArray[np.bool_]] = {}
    exposure_of = plan.exposure_of()
    for ref in plan.inputs:
        exposure = exposure_of[ref.dataset_id]
        inside = _inside(Grid.from_text(ref.grid), lon, lat)
        usable = inside * (1.0 if ref.usable_fraction is None else ref.usable_fraction)
        total += weights[ref.dataset_id] * usable
        roots += math.sqrt(weights[ref.dataset_id]) * usable
        images += usable
        seen[exposure] = seen.get(exposure, np.zeros(lon.shape, np.bool_)) | inside
    counts = np.sum(list(seen.values()), axis=0).astype(np.int32)
    with np.errstate(divide="ignore", invalid="ignore"):
        noise = 1.0 / np.sqrt(total)
        if plan.recipe.template.statistic == "median":  # as app.pixels.stack has it
            loss = np.vectorize(median_loss)(np.rint(images).astype(np.int64))
            noise = np.sqrt(loss * images) / roots
        if plan.recipe.template.source == "coadds":  # as app.pixels.merge has it
            noise = np.where(images > 0, np.sqrt(images / total), np.inf)
    return Coverage(cell, counts, noise)


def _inside(grid: Grid, lon: Floats, lat: Floats) -> NDArray[np.bool_]:
    """Which directions lie on the pixels of a grid."""
    x, y = grid.sky_to_pixel(lon, lat)
    ny, nx = grid.shape
    with np.errstate(invalid="ignore"):
        inside: NDArray[np.bool_] = (x > -0.5) & (x < nx - 0.5) & (y > -0.5) & (y < ny - 0.5)
    return inside


def _fwhm_arcsec(inputs: Sequence[ImageRef], weights: Mapping[str, float]) -> float | None:
    """The width of the weighted sum of Gaussians as wide as the inputs' PSFs: the sharp ones
    have the peak, so it is less than the mean."""
    known = [(weights[r.dataset_id], r.fwhm_arcsec) for r in inputs if r.fwhm_arcsec is not None]
    if not known:
        return None
    share, width = np.array(known, dtype=np.float64).T
    peak = share / width**2

    def above_half(radius: float) -> float:
        return float(np.sum(peak * (2.0 ** -((2.0 * radius / width) ** 2) - 0.5)))

    return 2.0 * float(scipy.optimize.brentq(above_half, 0.0, width.max()))


def _model_fwhm_arcsec(inputs: Sequence[ImageRef]) -> float | None:
    """The one width to which PSF-matched inputs are brought."""
    widths = [ref.fwhm_arcsec for ref in inputs if ref.fwhm_arcsec is not None]
    return MARGIN * max(widths) if len(widths) == len(inputs) else None


def _added(noise: float | None, science: ImageRef) -> float | None:
    if noise is None or science.noise is None:
        return None
    return math.hypot(noise, science.noise)


def _inputs(
    plan: BuildPlan,
    known: frozenset[str],
    weights: Mapping[str, float],
    zero_point_mag: float | None,
) -> tuple[InputForecast, ...]:
    total = sum(weights.values())
    exposure_of = plan.exposure_of()
    return tuple(
        InputForecast(
            ref=ref,
            exposure=exposure_of[ref.dataset_id],
            weight=weights[ref.dataset_id] / total,
            scale=flux_factor(ref, zero_point_mag),
            noise=weights[ref.dataset_id] ** -0.5 if ref.dataset_id in known else None,
        )
        for ref in plan.inputs
    )

"""The ``skyloom.build_quality`` row of a product."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from app.pixels.grid import Grid
from app.recipes.photometry import NANOJANSKY_ZERO_POINT_MAG, point_source_depth_mag
from app.recipes.recipe import BuildPlan, BuildReport
from app.schema.rows import ProductQuality

CARDS: Final = {
    "COVERAGE": "coverage",
    "MASKED": "masked_fraction",
    "DEPTH": "median_n_image",
    "CLIPPED": "clipped_fraction",
    "BOXNOISE": "box_noise_ratio",
    "EFFTIME": "effective_time_s",
    "WCSERR": "position_error_px",
    "NPSF": "n_psf",
    "NPSFSTAR": "n_psf_stars",
    "KERNSUM": "kernel_sum",
    "KSUMSIG": "kernel_sum_scatter",
    "PHOTSCAL": "photometric_scale",
    "NSTAMPS": "stamps_used",
    "NSTAMREJ": "stamps_rejected",
    "STAMPCHI": "stamp_chi",
    "SCIFWHM": "science_fwhm_arcsec",
    "TMPFWHM": "template_fwhm_arcsec",
    "PULLSIG": "pull_sigma",
    "VARFACT": "variance_factor",
    "BRIGHCHI": "bright_chi",
    "NBLANK": "blank_pixels",
    "STARRES": "star_residual",
    "NDIASRC": "n_dia_sources",
}
"""Number in a report (the keyword it has in the file's header) -> column."""


def product_quality(plan: BuildPlan, report: BuildReport) -> ProductQuality:
    """What is published of how good a product is."""
    told = dict(report.quality)
    templates = [use for use in report.uses if use.role == "template"]
    used = {use.dataset_id for use in templates if use.rejected is None}
    return ProductQuality(
        product_id=plan.dataset_id,
        numbers={
            **{column: told.get(card) for card, column in CARDS.items()},
            "n_inputs": len(used),
            "n_exposures": _exposures(plan, used),
            "n_rejected": len(templates) - len(used) + len(plan.rejected),
            "fwhm_arcsec": report.fwhm_arcsec,
            "zero_point_mag": report.zero_point_mag,
            "build_s": report.duration_s,
            **_photometry(plan, report, told.get("NOISE")),
        },
        words=_settings(plan),
    )


def _exposures(plan: BuildPlan, used: Iterable[str]) -> int | None:
    if plan.recipe.template.source == "coadds":
        return None
    exposure_of = plan.exposure_of()
    return len({exposure_of[name] for name in used})


def _settings(plan: BuildPlan) -> dict[str, str | None]:
    options, difference = plan.recipe.template, plan.recipe.difference
    told: dict[str, str | None] = {
        "kernel": options.kernel,
        "method": None if difference is None else difference.method,
    }
    if options.source == "coadds":
        missing = " ".join(f"{tract}/{patch}" for tract, patch in plan.missing_patches)
        return {**told, "missing_patches": missing or None}
    return {**told, "statistic": options.statistic, "warp": options.warp}


def _photometry(
    plan: BuildPlan, report: BuildReport, noise: float | None
) -> dict[str, float | None]:
    """Noise in nJy, and depth where the width of the PSF is known and pixels are independent."""
    if noise is None or report.zero_point_mag is None:
        return {}
    scale = 10.0 ** (0.4 * (NANOJANSKY_ZERO_POINT_MAG - report.zero_point_mag))
    found: dict[str, float | None] = {"noise": noise * scale}
    if report.fwhm_arcsec is not None and plan.recipe.template.warp == "direct":
        fwhm_px = report.fwhm_arcsec / Grid.from_text(report.grid).pixel_scale_arcsec
        found["depth_mag"] = point_source_depth_mag(noise, fwhm_px, report.zero_point_mag)
    return found

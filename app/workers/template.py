"""The template of a build: inputs warped one by one, brought to one scale and sky, stacked."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from app.errors import ComputationError, CoverageError
from app.pixels.bright_objects import mark_bright_objects
from app.pixels.coadded import Coadd
from app.pixels.covariance import box_noise_ratio
from app.pixels.gaps import fill_narrow_gaps, with_high_variance
from app.pixels.input_map import input_map
from app.pixels.psf import measure_fwhm_px
from app.pixels.psf_coadd import CoaddPsf, combine_psfs, matched_psf
from app.pixels.psf_matched import MatchedTo
from app.recipes.photometry import NANOJANSKY, NANOJANSKY_ZERO_POINT_MAG, common_zero_point
from app.recipes.recipe import BuildPlan, InputUse
from app.stores.fits_layout import CardRow
from app.workers.gather import Gathered, gather
from app.workers.get_template import get_template
from app.workers.input_tables import InputTables, input_tables
from app.workers.inputs import WarpedInput, with_width
from app.workers.product import Product, pixel_quality
from app.workers.stacking import Combination, combination_of, stack
from app.workers.sub_regions import Ahead
from app.workers.work import Work


@dataclass(frozen=True, slots=True)
class Template:
    """A stack on the grid of the build, its PSF, and how each input took part in it.

    The ``tables`` are empty when it only serves a difference.
    """

    coadd: Coadd
    psf: CoaddPsf | None
    uses: tuple[InputUse, ...]
    tables: InputTables
    position_error_px: float
    input_map: NDArray[np.uint8] | None = None
    matched: MatchedTo | None = None


def make_template(work: Work, ahead: Ahead | None = None) -> Template:
    """Stack the inputs of the plan on its grid, of which other workers did what ``ahead`` tells.

    Raises what :func:`app.workers.gather.gather` and :func:`app.workers.stacking.stack` raise.
    """
    if work.plan.recipe.template.source == "coadds":
        return _from_coadds(work)
    with ExitStack() as files:
        files.callback(work.warps.trim)
        gathered, coadded, combination = (
            _stacked(work, files) if ahead is None else ahead.finish(work, files)
        )
        error = max(each.stored.facts.position_error_px for each in gathered.kept)
        uses = _uses(work.plan, gathered, coadded)
        alone = work.plan.science is None
        tables = input_tables(work, gathered.kept, coadded, combination) if alone else InputTables()
        inputs = _input_map(work, gathered.kept, coadded, combination) if alone else None
        psf = _psf(work, gathered.kept, coadded, combination)
    coadded = replace(coadded, image=with_width(coadded.image, psf))
    return Template(coadded, psf, uses, tables, error, inputs, combination.matched)


def _stacked(work: Work, files: ExitStack) -> tuple[Gathered, Coadd, Combination]:
    gathered = gather(work, files)
    warps = [each.warped for each in gathered.kept]
    combination = combination_of(work, gathered.kept)
    return gathered, stack(work, warps, combination), combination


def _input_map(
    work: Work, inputs: Sequence[WarpedInput], stack: Coadd, combination: Combination
) -> NDArray[np.uint8]:
    """Of the inputs that the table CCDS has, in its order."""
    used = [n for n, weight in enumerate(stack.weights) if weight > 0]
    return input_map(
        [inputs[n].stored for n in used],
        work.grid.shape,
        [combination.excluded[n] for n in used] if combination.excluded else (),
        between_bands=lambda *_: work.check(),
    )


def _psf(
    work: Work, inputs: Sequence[WarpedInput], stack: Coadd, combination: Combination
) -> CoaddPsf | None:
    """Of the inputs whose PSF is known; None when none is. A median takes all alike."""
    parts = []
    for each, weight in zip(inputs, stack.weights, strict=True):
        own = each.stored.psf()
        if own is not None:
            alike = weight > 0 and work.plan.recipe.template.statistic == "median"
            parts.append(own.weighted(1.0 if alike else weight, each.ref.dataset_id))
    psf = combine_psfs(parts, stack.image.shape)
    if psf is None or combination.matched is None:
        return psf
    return matched_psf(psf, combination.matched.model.stamp())


def _from_coadds(work: Work) -> Template:
    """Coadds that exist, merged and warped; each pixel counts as one input."""
    plan = work.plan
    merged = get_template(
        work.images,
        plan.inputs,
        work.grid,
        kernel=plan.recipe.template.kernel,
        zero_point_mag=common_zero_point(plan.inputs, plan.science),
        at=work.at,
    )
    n_image = np.isfinite(merged.image.flux).astype(np.int32)
    weights = tuple(use.weight or 0.0 for use in merged.uses)
    coadded = Coadd(merged.image, n_image, weights, (0.0,) * len(weights))
    return Template(coadded, merged.psf, merged.uses, InputTables(), float("nan"))


def _matched_cards(work: Work, matched: MatchedTo | None) -> list[CardRow]:
    """To which PSF inputs were brought, and from what was known of theirs."""
    if matched is None:
        return []
    return [
        ("MODELPSF", matched.model.profile, "PSF to which all inputs were brought"),
        ("MODFWHM", work.fwhm_arcsec(matched.model.fwhm_px), "[arcsec] its FWHM"),
        ("NFROMPSF", matched.known.count("psf"), "inputs matched from their measured PSF"),
        ("NFROMWID", matched.known.count("fwhm"), "inputs matched from their FWHM alone"),
    ]


def _median_depth(n_image: NDArray[np.int32]) -> float:
    """Of the pixels that any input covers."""
    size = int(n_image.max()) + 1
    counts = np.sum([np.bincount(row, minlength=size) for row in n_image], axis=0)
    ends = np.cumsum(counts[1:])
    middles = np.searchsorted(ends, [(ends[-1] - 1) // 2, ends[-1] // 2], side="right")
    return float(middles.mean() + 1.0)


def template_product(work: Work, template: Template) -> Product:
    """The template as a product of its own."""
    options, image = work.plan.recipe.template, template.coadd.image
    known = image.zero_point_mag is not None
    fwhm_px = measure_fwhm_px(image) if image.fwhm_px is None else image.fwhm_px
    ratio = box_noise_ratio(image)
    psfs = () if template.psf is None else template.psf.components
    effective_s = template.tables.effective_time_s
    image = with_high_variance(image)
    if fwhm_px is not None:
        image = fill_narrow_gaps(image, fwhm_px)
    image = mark_bright_objects(image, work.grid, work.plan.recipe.bright_objects)
    return Product(
        image=image,
        grid=work.grid,
        uses=template.uses,
        fwhm_arcsec=work.fwhm_arcsec(fwhm_px),
        zero_point_mag=NANOJANSKY_ZERO_POINT_MAG if known else None,
        bunit=NANOJANSKY if known else work.plan.inputs[0].bunit,
        quality=(
            ("DEPTH", _median_depth(template.coadd.n_image)),
            ("CLIPPED", float(np.average(template.coadd.clipped_fraction))),
            *pixel_quality(image),
            ("WCSERR", template.position_error_px),
            *((("BOXNOISE", ratio),) if ratio is not None else ()),
            *((("EFFTIME", effective_s),) if effective_s is not None else ()),
            ("NPSF", len({part.name for part in psfs})),
            ("NPSFSTAR", sum(part.field.stars for part in psfs)),
        ),
        psf=template.psf,
        settings=(
            ("RESAMPLE", options.kernel, "resampling kernel"),
            ("STATISTC", options.statistic, "how inputs were combined"),
            ("CLIPSIG", options.clip_sigma, "clipping limit"),
            ("WARPTYPE", options.warp, "direct, or all inputs of one PSF"),
            *_matched_cards(work, template.matched),
            ("BKGMATCH", options.background_matching, "backgrounds matched where inputs overlap"),
        ),
        n_image=template.coadd.n_image,
        input_map=template.input_map,
        tables=template.tables.by_name(),
    )


def _uses(plan: BuildPlan, gathered: Gathered, stack: Coadd) -> tuple[InputUse, ...]:
    total = sum(stack.weights) or 1.0
    used = {
        each.ref.dataset_id: InputUse(
            dataset_id=each.ref.dataset_id,
            role="template",
            weight=weight / total,
            scale=each.scale,
        )
        for each, weight in zip(gathered.kept, stack.weights, strict=True)
    }
    return tuple(
        used.get(ref.dataset_id) or _left_out(ref.dataset_id, gathered.rejected[ref.dataset_id])
        for ref in plan.inputs
    )


def _left_out(dataset_id: str, fault: ComputationError) -> InputUse:
    reason = str(fault) if isinstance(fault, CoverageError) else f"{fault.args[1]}"
    return InputUse(
        dataset_id=dataset_id, role="template", weight=None, scale=None, rejected=reason
    )

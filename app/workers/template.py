"""The template of a build: inputs warped one by one, brought to one scale and sky, stacked."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace

import numpy as np

from app.errors import ComputationError, CoverageError
from app.pixels.bands import limit_threads, thread_count
from app.pixels.coadded import Coadd
from app.pixels.covariance import box_noise_ratio
from app.pixels.gaps import fill_narrow_gaps, with_high_variance
from app.pixels.overlap import differential_backgrounds
from app.pixels.psf import measure_fwhm_px
from app.pixels.psf_coadd import CoaddPsf, combine_psfs, matched_psf
from app.recipes.photometry import NANOJANSKY, NANOJANSKY_ZERO_POINT_MAG, common_zero_point
from app.recipes.recipe import BuildPlan, ImageRef, InputUse
from app.workers.get_template import get_template
from app.workers.input_tables import InputTables, input_tables
from app.workers.inputs import WarpedInput, to_one_scale, warp_input, with_width
from app.workers.product import Product, pixel_quality
from app.workers.stacking import stack_inputs
from app.workers.work import Work

NEEDED_EXPOSURES = 2


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


def make_template(work: Work) -> Template:
    """Stack the inputs of the plan on its grid.

    Inputs of an automatic choice that cannot be read, or have no pixel there, are left out.

    Raises
    ------
    StoppedError
        The build is to stop.
    ImageFormatError
        A listed input cannot be read, or so many of an automatic choice that none is left.
    CoverageError
        Fewer than two exposures (or than were listed) have usable pixels on the target.
    StorageFullError
        No room for warps.
    """
    if work.plan.recipe.template.source == "coadds":
        return _from_coadds(work)
    with ExitStack() as files:
        files.callback(work.warps.trim)
        gathered = _Inputs(work, files).gather()
        coadded = stack_inputs(work, [each.warped for each in gathered.kept])
        error = max(each.stored.facts.position_error_px for each in gathered.kept)
        uses = _uses(work.plan, gathered, coadded)
        alone = work.plan.science is None
        tables = input_tables(work, gathered.kept, coadded) if alone else InputTables((), ())
        psf = _psf(work, gathered.kept, coadded)
    coadded = replace(coadded, image=with_width(coadded.image, psf))
    return Template(coadded, psf, uses, tables, error)


def _psf(work: Work, inputs: Sequence[WarpedInput], stack: Coadd) -> CoaddPsf | None:
    """Of the inputs whose PSF is known; None when none is. A median takes all alike."""
    parts = []
    for each, weight in zip(inputs, stack.weights, strict=True):
        own = each.stored.psf()
        if own is not None:
            alike = weight > 0 and work.plan.recipe.template.statistic == "median"
            parts.append(own.weighted(1.0 if alike else weight, each.ref.dataset_id))
    psf = combine_psfs(parts, stack.image.shape)
    fwhm_px = stack.image.fwhm_px
    matched = work.plan.recipe.template.warp == "psfmatched"
    return matched_psf(psf, fwhm_px) if matched and psf is not None and fwhm_px else psf


def warp_ahead(work: Work, ref: ImageRef, zero_point_mag: float | None) -> None:
    """Keep the warp of one input for :func:`make_template`, which else makes it itself.

    What is wrong with an input is left for that to find: there it is known what follows from it.
    Raises StorageFullError.
    """
    with suppress(ComputationError):
        warp_input(work, ref, zero_point_mag).stored.close()


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
    return Template(coadded, merged.psf, merged.uses, InputTables((), ()), float("nan"))


def template_product(work: Work, template: Template) -> Product:
    """The template as a product of its own."""
    options, image = work.plan.recipe.template, template.coadd.image
    known = image.zero_point_mag is not None
    covered = template.coadd.n_image > 0
    fwhm_px = measure_fwhm_px(image) if image.fwhm_px is None else image.fwhm_px
    ratio = box_noise_ratio(image)
    with_psf = set() if template.psf is None else {part.name for part in template.psf.components}
    image = with_high_variance(image)
    if fwhm_px is not None:
        image = fill_narrow_gaps(image, fwhm_px)
    return Product(
        image=image,
        grid=work.grid,
        uses=template.uses,
        fwhm_arcsec=work.fwhm_arcsec(fwhm_px),
        zero_point_mag=NANOJANSKY_ZERO_POINT_MAG if known else None,
        bunit=NANOJANSKY if known else work.plan.inputs[0].bunit,
        quality=(
            ("DEPTH", float(np.median(template.coadd.n_image[covered]))),
            ("CLIPPED", float(np.average(template.coadd.clipped_fraction))),
            *pixel_quality(image),
            ("WCSERR", template.position_error_px),
            *((("BOXNOISE", ratio),) if ratio is not None else ()),
            ("NPSF", len(with_psf)),
        ),
        psf=template.psf,
        settings=(
            ("RESAMPLE", options.kernel, "resampling kernel"),
            ("STATISTC", options.statistic, "how inputs were combined"),
            ("CLIPSIG", options.clip_sigma, "clipping limit"),
            ("WARPTYPE", options.warp, "direct, or all inputs of one PSF"),
            ("BKGMATCH", options.background_matching, "backgrounds matched where inputs overlap"),
        ),
        n_image=template.coadd.n_image,
        tables=template.tables.by_name(),
    )


@dataclass(frozen=True, slots=True)
class _Gathered:
    """Inputs ready to be stacked, and why the others are not."""

    kept: list[WarpedInput]
    rejected: dict[str, ComputationError]


class _Inputs:
    """Warps the inputs of a plan, and knows which of them fell away."""

    def __init__(self, work: Work, files: ExitStack) -> None:
        self._work = work
        self._files = files
        self._rejected: dict[str, ComputationError] = {}

    def gather(self) -> _Gathered:
        """All inputs on the target, at one flux scale and, if that is asked for, one sky."""
        plan = self._work.plan
        zero_point_mag = common_zero_point(plan.inputs, plan.science)
        kept = self._warped(zero_point_mag)
        if zero_point_mag is None:
            kept = self._scaled(kept)
        self._require_enough([each.ref for each in kept])
        if plan.recipe.template.background_matching:
            kept = self._matched(kept)
        return _Gathered(kept, self._rejected)

    def _warped(self, zero_point_mag: float | None) -> list[WarpedInput]:
        """Inputs warped, some at a time; the order of the plan is kept."""
        refs = self._work.plan.inputs
        kept: list[WarpedInput] = []
        waiting: deque[tuple[ImageRef, Future[WarpedInput]]] = deque()
        at_once = self._work.exposures_at_once()
        threads = thread_count() // at_once

        def warp_one(ref: ImageRef) -> WarpedInput:
            with limit_threads(threads):
                each = warp_input(self._work, ref, zero_point_mag)
            self._files.enter_context(each.stored)
            return each

        with ThreadPoolExecutor(at_once) as pool:
            for number, ref in enumerate(refs):
                self._work.at("warp", number, len(refs))
                waiting.append((ref, pool.submit(warp_one, ref)))
                if len(waiting) == at_once:
                    self._take(*waiting.popleft(), kept)
            while waiting:
                self._take(*waiting.popleft(), kept)
        return kept

    def _take(self, ref: ImageRef, future: Future[WarpedInput], kept: list[WarpedInput]) -> None:
        try:
            kept.append(future.result())
        except ComputationError as fault:
            self._reject(ref, fault)

    def _scaled(self, warped: list[WarpedInput]) -> list[WarpedInput]:
        """Without zero points: to the scale of the input with most usable pixels."""
        if not warped:
            return []
        reference = max(warped, key=lambda each: each.stored.facts.coverage.pixels)
        kept: list[WarpedInput] = []
        for number, each in enumerate(warped):
            self._work.at("scale", number, len(warped))
            try:
                kept.append(to_one_scale(each, reference))
            except ComputationError as fault:
                self._reject(each.ref, fault)
        return kept

    def _matched(self, warped: list[WarpedInput]) -> list[WarpedInput]:
        """Smooth differences of sky level between inputs taken off."""
        self._work.at("background", 0, 1)
        surfaces = differential_backgrounds([each.warped for each in warped])
        return [
            replace(each, warped=replace(each.warped, background=surface))
            for each, surface in zip(warped, surfaces, strict=True)
        ]

    def _reject(self, ref: ImageRef, fault: ComputationError) -> None:
        """Leave an input of an automatic choice out; of a list none may be missing."""
        if not self._work.plan.explicit:
            self._rejected[ref.dataset_id] = fault
            return
        if isinstance(fault, CoverageError):
            what, found, needed = fault.args
            raise CoverageError(f"{ref.dataset_id}: {what}", found, needed) from fault
        raise fault

    def _require_enough(self, kept: list[ImageRef]) -> None:
        plan = self._work.plan
        names = [ref.dataset_id for ref in plan.inputs]
        exposure_of = dict(zip(names, plan.exposures or names, strict=True))
        left = {exposure_of[ref.dataset_id] for ref in kept}
        needed = min(NEEDED_EXPOSURES, len(set(exposure_of.values())))
        if len(left) >= needed:
            return
        unreadable = [f for f in self._rejected.values() if not isinstance(f, CoverageError)]
        if unreadable:
            raise unreadable[0]
        raise CoverageError("exposures with usable pixels on the target", len(left), needed)


def _uses(plan: BuildPlan, gathered: _Gathered, stack: Coadd) -> tuple[InputUse, ...]:
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

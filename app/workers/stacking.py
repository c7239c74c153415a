"""The stack of a build: its warps direct or PSF-matched, artefacts found and left out, combined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from app.errors import CoverageError
from app.pixels.artefacts.compare_warp import compare_warp, matching_kernels
from app.pixels.artefacts.safe_clip import safe_clip
from app.pixels.coadd import Statistic, coadd_rows
from app.pixels.coadded import Coadd, CoaddRows, whole_coadd
from app.pixels.image import bits
from app.pixels.model_psf import ModelPsf
from app.pixels.psf_matched import (
    MatchedTo,
    PsfMatched,
    SampledPsf,
    automatic_fwhm_px,
    match_psfs,
    sample_psf,
)
from app.pixels.spans import Spans, union
from app.pixels.warped import Warped
from app.recipes.plan import refuse_sharpening
from app.workers.inputs import WarpedInput
from app.workers.work import Work


@dataclass(frozen=True, slots=True)
class Combination:
    """How inputs are combined, and the artefacts that are left out of each (nothing, or one set
    of pixels for each input). ``streaks`` are the trails of all inputs. With ``matched`` they are
    brought to one PSF first."""

    statistic: Statistic
    excluded: tuple[Spans, ...] = ()
    streaks: Spans = field(default_factory=Spans.empty)
    matched: MatchedTo | None = None

    def warps(self, inputs: Sequence[Warped]) -> Sequence[Warped]:
        """The inputs themselves, or brought to one PSF."""
        if self.matched is None:
            return inputs
        kernels, width = self.matched.kernels, self.matched.model.fwhm_px
        excluded = self.excluded or (None,) * len(inputs)
        return [
            PsfMatched(each, kernel, width, left_out)
            for each, kernel, left_out in zip(inputs, kernels, excluded, strict=True)
        ]


def combination_of(work: Work, kept: Sequence[WarpedInput]) -> Combination:
    """What the plan's options come to for these inputs: the artefacts to leave out, and the
    kernels that bring them to one PSF.

    Raises CoverageError when PSF-matched warps are asked for and an input's seeing is not known,
    ParameterError when the PSF asked for is sharper than an input's.
    """
    matched = _matched_to(work, kept) if work.plan.recipe.template.warp == "psfmatched" else None
    return replace(_without_artefacts(work, kept), matched=matched)


def _without_artefacts(work: Work, kept: Sequence[WarpedInput]) -> Combination:
    """``safeclip`` and ``comparewarp`` are a plain mean of what is no artefact."""
    inputs = [each.warped for each in kept]

    def at(done: int, rows: int) -> None:
        work.at("artefacts", done, rows)

    asked, memory_bytes = work.plan.recipe.template.statistic, work.limits.band_bytes()
    if asked == "safeclip":
        found = safe_clip(inputs, memory_bytes=memory_bytes, between_bands=at)
    elif asked == "comparewarp":
        kernels = matching_kernels(inputs, [each.stored.psf() for each in kept])
        found = compare_warp(inputs, kernels=kernels, memory_bytes=memory_bytes, between_bands=at)
    else:
        return Combination(asked)
    return Combination("mean", found.pixels, union(found.streaks))


def stack_rows(
    work: Work, inputs: Sequence[Warped], combination: Combination, rows: tuple[int, int]
) -> CoaddRows:
    """The rows ``start <= y < stop`` of the stack. Raises what :func:`stack` raises."""
    options = work.plan.recipe.template
    made = coadd_rows(
        combination.warps(inputs),
        rows,
        statistic=combination.statistic,
        clip_sigma=options.clip_sigma,
        clip_iterations=options.clip_iterations,
        excluded=combination.excluded,
        memory_bytes=work.limits.band_bytes(),
        between_bands=lambda done, count: work.at("coadd", done, count),
    )
    _mark_streaks(made.planes[2], combination.streaks.rows(*rows, work.grid.shape[1]))
    return made


def _mark_streaks(mask: NDArray[np.int32], trails: NDArray[np.bool_]) -> None:
    """STREAK where the trail of an input was left out."""
    mask[trails & ((mask & bits("CLIPPED")) != 0)] |= bits("STREAK")


def stack_of_rows(inputs: Sequence[Warped], combination: Combination, rows: CoaddRows) -> Coadd:
    """The stack whose rows are all there. Raises what :func:`stack` raises."""
    warps = combination.warps(inputs)
    return whole_coadd(warps, rows, [each.weight for each in warps])


def stack(work: Work, inputs: Sequence[Warped], combination: Combination) -> Coadd:
    """The stack that the plan's options ask for.

    Raises CoverageError when no input has a usable pixel.
    """
    every = (0, work.grid.shape[0])
    return stack_of_rows(inputs, combination, stack_rows(work, inputs, combination, every))


def _matched_to(work: Work, kept: Sequence[WarpedInput]) -> MatchedTo:
    options = work.plan.recipe.template
    sampled: list[SampledPsf] = []
    for number, each in enumerate(kept):
        work.at("psf", number, len(kept))
        psf = sample_psf(each.stored.psf(), each.warped.fwhm_px)
        if psf is None:
            what = f"PSF or FWHM of {each.ref.dataset_id}, to be PSF-matched"
            raise CoverageError(what, number, len(kept))
        sampled.append(psf)
    if options.model_fwhm_arcsec is None:
        fwhm_px = automatic_fwhm_px([each.warped for each in kept], sampled)
    else:
        scale = work.grid.pixel_scale_arcsec
        widths = {e.ref.dataset_id: p.widest_px * scale for e, p in zip(kept, sampled, strict=True)}
        refuse_sharpening(options.model_fwhm_arcsec, widths)
        fwhm_px = options.model_fwhm_arcsec / scale
    return match_psfs(sampled, ModelPsf(fwhm_px, options.model_psf), work.grid.shape)

"""The stack of a build: its warps direct or PSF-matched, artefacts found and left out, combined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from app.errors import CoverageError
from app.pixels.artefacts.compare_warp import compare_warp, matching_kernels
from app.pixels.artefacts.safe_clip import safe_clip
from app.pixels.coadd import Statistic, coadd_rows
from app.pixels.coadded import Coadd, CoaddRows, whole_coadd
from app.pixels.image import bits
from app.pixels.model_psf import PsfMatched, gaussian_match, model_fwhm_px
from app.pixels.spans import Spans, union
from app.pixels.warped import Warped
from app.workers.inputs import WarpedInput
from app.workers.work import Work


@dataclass(frozen=True, slots=True)
class Combination:
    """How inputs are combined, and the artefacts that are left out of each (nothing, or one set
    of pixels for each input). ``streaks`` are the trails of all inputs."""

    statistic: Statistic
    excluded: tuple[Spans, ...] = ()
    streaks: Spans = field(default_factory=Spans.empty)


def find_artefacts(work: Work, kept: Sequence[WarpedInput]) -> Combination:
    """What the plan's statistic comes to: ``safeclip`` and ``comparewarp`` are a plain mean of what
    is no artefact."""
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
        _as_asked(work, inputs),
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


def stack_of_rows(work: Work, inputs: Sequence[Warped], rows: CoaddRows) -> Coadd:
    """The stack whose rows are all there. Raises what :func:`stack` raises."""
    warps = _as_asked(work, inputs)
    return whole_coadd(warps, rows, [each.weight for each in warps])


def stack(work: Work, inputs: Sequence[Warped], combination: Combination) -> Coadd:
    """The stack that the plan's options ask for.

    Raises CoverageError when no input has a usable pixel, or when PSF-matched warps are asked for
    and an input's seeing is not known.
    """
    every = (0, work.grid.shape[0])
    return stack_of_rows(work, inputs, stack_rows(work, inputs, combination, every))


def _as_asked(work: Work, inputs: Sequence[Warped]) -> Sequence[Warped]:
    """The inputs themselves, or brought to one PSF."""
    if work.plan.recipe.template.warp == "direct":
        return inputs
    model_px = model_fwhm_px(inputs)
    known = [each.fwhm_px for each in inputs if each.fwhm_px is not None]
    if model_px is None or len(known) < len(inputs):
        raise CoverageError("inputs of known FWHM, to be PSF-matched", len(known), len(inputs))
    return [
        PsfMatched(each, gaussian_match(fwhm_px, model_px), model_px)
        for each, fwhm_px in zip(inputs, known, strict=True)
    ]

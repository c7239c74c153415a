"""The stack of a build: its warps direct or PSF-matched, artefacts found and left out, combined."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from app.errors import CoverageError
from app.pixels.artefacts.compare_warp import compare_warp
from app.pixels.artefacts.safe_clip import safe_clip
from app.pixels.coadd import Statistic, coadd
from app.pixels.coadded import Coadd
from app.pixels.model_psf import PsfMatched, gaussian_match, model_fwhm_px
from app.pixels.spans import Spans
from app.pixels.warped import Warped
from app.workers.work import Work


def stack_inputs(work: Work, inputs: Sequence[Warped]) -> Coadd:
    """The stack that the plan's options ask for.

    With ``safeclip`` and ``comparewarp`` it is a plain mean of what is no artefact. Raises
    CoverageError when PSF-matched warps are asked for and an input's seeing is not known.
    """
    options = work.plan.recipe.template
    statistic, excluded = _artefacts_left_out(work, options.statistic, inputs)
    return coadd(
        inputs if options.warp == "direct" else _psf_matched(inputs),
        statistic=statistic,
        clip_sigma=options.clip_sigma,
        clip_iterations=options.clip_iterations,
        excluded=excluded,
        memory_bytes=work.limits.stack_memory_bytes // 2,
        between_bands=lambda done, rows: work.at("coadd", done, rows),
    )


def _artefacts_left_out(
    work: Work, asked: Statistic | Literal["safeclip", "comparewarp"], inputs: Sequence[Warped]
) -> tuple[Statistic, tuple[Spans, ...]]:
    """How the rest is combined, and what is left out of each input."""

    def at(done: int, rows: int) -> None:
        work.at("artefacts", done, rows)

    memory_bytes = work.limits.stack_memory_bytes // 2
    if asked == "safeclip":
        found = safe_clip(inputs, memory_bytes=memory_bytes, between_bands=at)
        return "mean", found.pixels
    if asked == "comparewarp":
        found = compare_warp(inputs, memory_bytes=memory_bytes, between_bands=at)
        return "mean", found.pixels
    return asked, ()


def _psf_matched(inputs: Sequence[Warped]) -> list[PsfMatched]:
    model_px = model_fwhm_px(inputs)
    known = [each.fwhm_px for each in inputs if each.fwhm_px is not None]
    if model_px is None or len(known) < len(inputs):
        raise CoverageError("inputs of known FWHM, to be PSF-matched", len(known), len(inputs))
    return [
        PsfMatched(each, gaussian_match(fwhm_px, model_px), model_px)
        for each, fwhm_px in zip(inputs, known, strict=True)
    ]

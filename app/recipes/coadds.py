"""Which coadds a template for a science image is warped from: one of each patch under it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.errors import CoverageError
from app.recipes.recipe import InputUse
from app.recipes.select import Candidate, Chosen, overlaps
from app.sky.shapes import Region
from app.sky.stcs import describe_area
from app.sky.tracts import Patch

MOST_NAMED = 5


@dataclass(frozen=True, slots=True)
class PatchCoadd:
    """A template of a patch of the sky map."""

    tract: int
    patch: int
    candidate: Candidate


def select_coadds(
    coadds: Sequence[PatchCoadd],
    *,
    target: Region,
    band: str,
    science_exposure: str | None,
    patches: Sequence[Patch],
) -> Chosen:
    """The first of ``coadds`` of each patch that overlaps ``target`` and does not hold the science
    exposure; ``coadds`` are those of ``band``, in order of preference.

    ``patches`` are all that the sky map has there. Raises CoverageError that names those without
    a template when none is left.
    """
    taken: dict[tuple[int, int], Candidate] = {}
    rejected: list[InputUse] = []
    for coadd in coadds:
        reason = None
        if not overlaps(coadd.candidate, target):
            reason = "no true overlap"
        elif science_exposure in coadd.candidate.members:
            reason = "holds the exposure of the science image"
        elif (coadd.tract, coadd.patch) in taken:
            reason = "a newer template of its patch is there"
        if reason is None:
            taken[coadd.tract, coadd.patch] = coadd.candidate
        else:
            rejected.append(_left_out(coadd.candidate.dataset_id, reason))
    if not taken:
        what = f"{_nothing_there(band, patches, rejected)}, {describe_area(target)}"
        raise CoverageError(what, 0, 1)
    inputs = tuple(sorted(taken.values(), key=lambda c: c.dataset_id))
    return Chosen(inputs=inputs, rejected=tuple(rejected))


def _left_out(dataset_id: str, reason: str) -> InputUse:
    return InputUse(
        dataset_id=dataset_id, role="template", weight=None, scale=None, rejected=reason
    )


def _nothing_there(band: str, patches: Sequence[Patch], rejected: Sequence[InputUse]) -> str:
    if rejected:
        reasons = "; ".join(f"{use.dataset_id}: {use.rejected}" for use in rejected[:MOST_NAMED])
        return f"templates of band {band} that can be used under the image ({reasons})"
    named = ", ".join(f"TRACT={p.tract} PATCH={p.patch}" for p in patches[:MOST_NAMED])
    more = f" and {len(patches) - MOST_NAMED} more" if len(patches) > MOST_NAMED else ""
    return f"templates of band {band} under the image; the image lies on {named}{more}: build them"

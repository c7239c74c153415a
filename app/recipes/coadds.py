"""Which coadds a template for a science image is warped from: one of each patch under it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from app.errors import CoverageError
from app.pixels.grid import Grid
from app.recipes.recipe import InputUse, PatchNumber
from app.recipes.select import Candidate, Chosen, overlaps
from app.recipes.target import name_patches
from app.sky.predicates import contains_point
from app.sky.shapes import Point, Region
from app.sky.skymap import SkyMap
from app.sky.stcs import describe_area

MOST_NAMED: Final = 5
PLACES: Final = 33
"""Along each side of an image, its edges among them, at which it is asked what covers it."""


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
    grid: Grid,
    band: str,
    science_exposure: str | None,
    skymap: SkyMap,
) -> Chosen:
    """The first of ``coadds`` of each patch that overlaps ``target`` and does not hold the science
    exposure; ``coadds`` are those of ``band``, in order of preference.

    Patches to which pixels of ``grid`` belong that none of these covers are told as missing.
    Raises CoverageError that names them when no coadd is left.
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
    missing = _missing(grid, taken, skymap)
    if not taken:
        what = f"{_nothing_there(band, missing, rejected)}, {describe_area(target)}"
        raise CoverageError(what, 0, 1)
    inputs = tuple(sorted(taken.values(), key=lambda c: c.dataset_id))
    return Chosen(inputs=inputs, rejected=tuple(rejected), missing_patches=missing)


def _missing(
    grid: Grid, taken: Mapping[PatchNumber, Candidate], skymap: SkyMap
) -> tuple[PatchNumber, ...]:
    """The patches, of those that are not taken, to which uncovered places of ``grid`` belong."""
    y, x = (np.linspace(0, size - 1, PLACES) for size in grid.shape)
    lon, lat = (each.ravel() for each in grid.pixel_to_sky(x[None, :], y[:, None]))
    on_sky = np.isfinite(lon)
    regions = [each.region for each in taken.values() if each.region is not None]
    points = (Point(float(a), float(b)) for a, b in zip(lon[on_sky], lat[on_sky], strict=True))
    bare = [point for point in points if not any(contains_point(r, point) for r in regions)]
    there = {(patch.tract, patch.patch) for patch in map(skymap.locate, bare)}
    return tuple(sorted(there - taken.keys()))


def _left_out(dataset_id: str, reason: str) -> InputUse:
    return InputUse(
        dataset_id=dataset_id, role="template", weight=None, scale=None, rejected=reason
    )


def _nothing_there(band: str, missing: Sequence[PatchNumber], rejected: Sequence[InputUse]) -> str:
    if rejected:
        reasons = "; ".join(f"{use.dataset_id}: {use.rejected}" for use in rejected[:MOST_NAMED])
        return f"templates of band {band} that can be used under the image ({reasons})"
    return (
        f"templates of band {band} under the image; the image lies on {name_patches(missing)}: "
        "build them"
    )

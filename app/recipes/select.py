"""Which images a template is made of.

The rule without FWHM_FRACTION is Rubin's (BestSeeingQuantileSelectVisits of the template_coadd
task): exposures are sorted by seeing and the best third is taken, but never fewer than
:data:`MIN_EXPOSURES`; with fewer exposures than that, all of them. With FWHM_FRACTION exactly
``ceil(fraction * n)`` exposures are taken, at least two; with MAX_INPUTS alone that many, and with
both the fewer. An exposure's seeing is the median over its images here; an exposure of unknown
seeing sorts last. Limits (:mod:`app.recipes.limits`) come before the ranking.

The database finds candidates by an index; here an image must truly overlap: its valid pixels
(``s_region``) and the outline of its pixel grid, which its own WCS gives.

Whatever the rule, the exposure of the science image is never part of its own template, and one
exposure is no template: nothing could be told apart from a defect or a transient in it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import median

from app.errors import CoverageError, RecipeError
from app.pixels.grid import Grid
from app.recipes.limits import reason_against
from app.recipes.photometry import effective_times_s
from app.recipes.recipe import ImageRef, InputUse, PatchNumber
from app.recipes.selection import LEAST_INPUTS, Selection
from app.schema.access import UNRESTRICTED, Rights
from app.sky.predicates import contains_point, intersects
from app.sky.shapes import Point, Polygon, Region, Shape
from app.sky.stcs import describe_area

BEST_FRACTION = 1 / 3
MIN_EXPOSURES = 6
MOST_NAMED = 5
"""Exposures, for each reason, when too few are left."""
_KNOWN_OUTLINES = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """An image that may become an input.

    ``exposure`` names the exposure the image is part of (several detectors share one);
    ``members`` are the exposures a product was itself made from; ``rights`` tell who may have its
    pixels.
    """

    ref: ImageRef
    region: Region | None
    exposure: str
    calib_level: int = 2
    members: frozenset[str] = frozenset()
    rights: Rights = UNRESTRICTED

    @property
    def dataset_id(self) -> str:
        """obs_publisher_did."""
        return self.ref.dataset_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """The inputs that were chosen, sorted by identifier, and why the others were not.

    ``missing_patches``: see :class:`app.recipes.recipe.BuildPlan`.
    """

    inputs: tuple[Candidate, ...]
    rejected: tuple[InputUse, ...] = ()
    missing_patches: tuple[PatchNumber, ...] = ()


def select_inputs(
    candidates: Sequence[Candidate],
    *,
    target: Region,
    band: str,
    selection: Selection,
    position: Shape | None = None,
    science_exposure: str | None = None,
) -> Chosen:
    """Choose by overlap, time and seeing. Raises CoverageError with fewer than two exposures; it
    names those that were left out.

    With a ``position``, only exposures that reach it take part (with every image of theirs that
    overlaps ``target``): the template is sure to have pixels where it was asked for.
    """
    reasons: dict[str, str] = {}
    left = _keep(
        sorted(candidates, key=lambda c: c.dataset_id),
        lambda c: _unfit(c, target, band, science_exposure),
        reasons,
    )
    seconds = effective_times_s([c.ref for c in left]) if selection.effective_time_min_s else {}
    left = _keep(
        left, lambda c: reason_against(c.ref, selection, seconds.get(c.dataset_id)), reasons
    )
    left = _keep(left, _copy_finder(), reasons)
    there = _exposures_at(left, position)
    left = _keep(left, lambda c: None if c.exposure in there else "not over the position", reasons)
    _require_exposures(left, band, target, _describe_left_out(candidates, reasons))
    best = best_exposures(left, selection.fwhm_fraction, selection.max_inputs)
    left = _keep(
        left, lambda c: None if c.exposure in best else "its seeing is not among the best", reasons
    )
    return _chosen(left, reasons)


def overlaps(candidate: Candidate, target: Region) -> bool:
    """Whether an image has pixels on ``target``: valid ones, and by its own WCS."""
    if candidate.region is None or not intersects(candidate.region, target):
        return False
    return intersects(_outline(candidate.ref.grid), target)


@lru_cache(maxsize=_KNOWN_OUTLINES)
def _outline(grid: str) -> Polygon:
    """The outer edge of the pixels of a grid, distortions included."""
    return Grid.from_text(grid).footprint()


def _keep(
    candidates: Sequence[Candidate],
    against: Callable[[Candidate], str | None],
    reasons: dict[str, str],
) -> list[Candidate]:
    """The candidates that nothing speaks against; the reasons of the others are written down."""
    kept = []
    for candidate in candidates:
        reason = against(candidate)
        if reason is None:
            kept.append(candidate)
        else:
            reasons[candidate.dataset_id] = reason
    return kept


def _copy_finder() -> Callable[[Candidate], str | None]:
    seen: set[tuple[str, object]] = set()

    def against(candidate: Candidate) -> str | None:
        copy = (candidate.ref.checksum or candidate.dataset_id, candidate.ref.planes[:1])
        if copy in seen:
            return "a copy of another input"
        seen.add(copy)
        return None

    return against


def check_listed(
    candidates: Sequence[Candidate],
    *,
    target: Region,
    band: str,
    science_exposure: str | None,
    products: bool,
) -> Chosen:
    """Accept an explicit list as it is, or say what is wrong with it.

    ``products``: existing templates (calib_level 3) may stand in the place of exposures.

    Raises
    ------
    RecipeError
        An image of another band, without overlap, of the science exposure, or of another level.
    CoverageError
        Fewer than two exposures.
    """
    levels = {candidate.calib_level for candidate in candidates}
    for candidate in candidates:
        _check_one(candidate, target, band, science_exposure)
    if products and levels == {3}:
        return _chosen(candidates, {})
    if levels - {2}:
        raise RecipeError(
            "TEMPLATE_IDS takes calibrated exposures (calib_level 2)"
            + (" or templates (calib_level 3), not both" if products else "")
        )
    _require_exposures(candidates, band, target)
    return _chosen(candidates, {})


def check_snap(candidates: Sequence[Candidate], *, science: Candidate, band: str) -> Chosen:
    """The one exposure that is subtracted from ``science``, of its own visit or of another.

    Raises RecipeError unless it is a single calibrated image, another one than ``science``, of the
    same band and overlapping it.
    """
    if len(candidates) != 1:
        raise RecipeError(f"METHOD=snap takes one exposure in TEMPLATE_IDS, got {len(candidates)}")
    (other,) = candidates
    if other.dataset_id == science.dataset_id:
        raise RecipeError(f"{other.dataset_id} is the science image itself")
    if other.calib_level != science.calib_level:
        raise RecipeError(f"METHOD=snap takes a calibrated exposure, {other.dataset_id} is none")
    if science.region is None:
        raise RecipeError(f"{science.dataset_id} has no footprint on the sky")
    _check_one(other, science.region, band, None)
    return _chosen(candidates, {})


def best_exposures(
    candidates: Sequence[Candidate], fraction: float | None, most: int | None = None
) -> frozenset[str]:
    """The exposures of best seeing: how many is said at the top of this file."""
    widths: dict[str, list[float]] = {}
    for candidate in candidates:
        known = widths.setdefault(candidate.exposure, [])
        if candidate.ref.fwhm_arcsec is not None:
            known.append(candidate.ref.fwhm_arcsec)
    ranked = sorted(widths, key=lambda name: (median(widths[name] or [math.inf]), name))
    if fraction is None and most is None:
        fraction, least = BEST_FRACTION, MIN_EXPOSURES
    else:
        least = LEAST_INPUTS
    count = max(math.ceil((fraction or 1.0) * len(ranked) - 1e-9), least)
    return frozenset(ranked[: count if most is None else min(count, most)])


def _exposures_at(candidates: Sequence[Candidate], position: Shape | None) -> frozenset[str]:
    return frozenset(
        c.exposure
        for c in candidates
        if position is None or (c.region is not None and _reaches(c.region, position))
    )


def _reaches(region: Region, position: Shape) -> bool:
    if isinstance(position, Point):
        return contains_point(region, position)
    return intersects(region, position)


def _chosen(inputs: Sequence[Candidate], reasons: Mapping[str, str]) -> Chosen:
    return Chosen(
        inputs=tuple(sorted(inputs, key=lambda c: c.dataset_id)),
        rejected=tuple(
            InputUse(dataset_id=name, role="template", weight=None, scale=None, rejected=reason)
            for name, reason in sorted(reasons.items())
        ),
    )


def _unfit(
    candidate: Candidate, target: Region, band: str, science_exposure: str | None
) -> str | None:
    """Why ``candidate`` cannot be an input, or None."""
    if candidate.ref.band != band:
        return "another band"
    if candidate.exposure == science_exposure or science_exposure in candidate.members:
        return "the exposure of the science image itself"
    return None if overlaps(candidate, target) else "no true overlap"


def _check_one(
    candidate: Candidate, target: Region, band: str, science_exposure: str | None
) -> None:
    name = candidate.dataset_id
    if candidate.ref.band != band:
        raise RecipeError(f"{name} is of band {candidate.ref.band}, not {band}")
    if candidate.exposure == science_exposure:
        raise RecipeError(f"{name} is of the science exposure; it cannot be in its own template")
    if science_exposure in candidate.members:
        raise RecipeError(
            f"the template {name} contains the science exposure; "
            "leave TEMPLATE_IDS away to have one made without it"
        )
    if not overlaps(candidate, target):
        raise RecipeError(f"{name} does not overlap the target")


def _require_exposures(
    left: Sequence[Candidate], band: str, target: Region, told: str = ""
) -> None:
    """Raise CoverageError with fewer than two exposures; ``told`` is what was left out."""
    names = {candidate.exposure: candidate.dataset_id for candidate in reversed(left)}
    if len(names) >= LEAST_INPUTS:
        return
    what = (
        f"A template needs two exposures; band {band} has one image only here that can be used, "
        f"{next(iter(names.values()))}"
        if names
        else f"No image of band {band} to make a template from"
    )
    what = f"{what}, {describe_area(target)}"
    raise CoverageError(f"{what} ({told})" if told else what, len(names), LEAST_INPUTS)


def _describe_left_out(candidates: Sequence[Candidate], reasons: Mapping[str, str]) -> str:
    """For each reason the exposures that it left out, each by its first image."""
    groups: dict[str, dict[str, str]] = {}
    for each in candidates:
        if each.dataset_id in reasons:
            group = groups.setdefault(reasons[each.dataset_id], {})
            group.setdefault(each.exposure, each.dataset_id)
    parts = []
    for reason, exposures in groups.items():
        named = ", ".join(list(exposures.values())[:MOST_NAMED])
        more = len(exposures) - MOST_NAMED
        parts.append(f"{reason}: {named}" + (f" and {more} more" if more > 0 else ""))
    return "left out: " + "; ".join(parts) if parts else ""

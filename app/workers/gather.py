"""The inputs of a stack: warped one by one, brought to one flux scale and sky.

What that takes is small and can be sent to other workers (:class:`Prepared`), which then open the
same warps and need not measure anything again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import NoReturn

from app.errors import ComputationError, CoverageError
from app.pixels.adjusted import Surface
from app.pixels.bands import limit_threads, thread_count
from app.pixels.overlap import differential_backgrounds
from app.recipes.photometry import common_zero_point
from app.recipes.recipe import ImageRef
from app.sky.stcs import describe_area
from app.workers.inputs import WarpedInput, to_one_scale, warp_input
from app.workers.work import Work

NEEDED_EXPOSURES = 2
MOST_NAMED = 5


@dataclass(frozen=True, slots=True)
class Gathered:
    """Inputs ready to be stacked, and by identifier why the others are not."""

    kept: list[WarpedInput]
    rejected: Mapping[str, ComputationError]


@dataclass(frozen=True, slots=True)
class PreparedInput:
    """An input, the ``factor`` that its warp is multiplied by, and the sky then taken off."""

    ref: ImageRef
    factor: float
    background: Surface | None


@dataclass(frozen=True, slots=True)
class Prepared:
    """The same as :class:`Gathered`, without open files."""

    inputs: tuple[PreparedInput, ...]
    rejected: Mapping[str, ComputationError]

    @classmethod
    def of(cls, gathered: Gathered) -> Prepared:
        """What has to be told of ``gathered``."""
        return cls(
            tuple(
                PreparedInput(each.ref, each.warped.scale, each.warped.background)
                for each in gathered.kept
            ),
            gathered.rejected,
        )


def gather(work: Work, files: ExitStack) -> Gathered:
    """All inputs on the target, at one flux scale and, if that is asked for, one sky.

    Their warps are open until ``files`` is closed. Inputs of an automatic choice that cannot be
    read, or have no pixel there, are left out.

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
    return _Inputs(work, files).gather()


def open_prepared(work: Work, prepared: Prepared, files: ExitStack) -> Gathered:
    """The warps of ``prepared``, open until ``files`` is closed.

    One that is not there any more is made again. Raises what :func:`gather` raises.
    """
    zero_point_mag = common_zero_point(work.plan.inputs, work.plan.science)
    kept: list[WarpedInput] = []
    for each in prepared.inputs:
        opened = warp_input(work, each.ref, zero_point_mag, verify=False)
        files.enter_context(opened.stored)
        kept.append(opened.adjusted(each.factor, each.background))
    return Gathered(kept, prepared.rejected)


def warp_ahead(work: Work, ref: ImageRef, zero_point_mag: float | None) -> None:
    """Keep the warp of one input for :func:`gather`, which else makes it itself.

    Raises StoppedError, StorageFullError and, for an input of a list, what is wrong with it; for
    one of an automatic choice that is left for :func:`gather` to find, which knows what follows.
    """
    try:
        warp_input(work, ref, zero_point_mag).stored.close()
    except ComputationError as fault:
        if work.plan.explicit:
            _raise_named(ref, fault)


def _raise_named(ref: ImageRef, fault: ComputationError) -> NoReturn:
    """What is wrong with a listed input, in words that name it."""
    if not isinstance(fault, CoverageError):
        raise fault
    what, found, needed = fault.args
    raise CoverageError(f"{ref.dataset_id}: {what}", found, needed) from fault


class _Inputs:
    """Warps the inputs of a plan, and knows which of them fell away."""

    def __init__(self, work: Work, files: ExitStack) -> None:
        self._work = work
        self._files = files
        self._rejected: dict[str, ComputationError] = {}

    def gather(self) -> Gathered:
        """All inputs on the target, at one flux scale and, if that is asked for, one sky."""
        plan = self._work.plan
        zero_point_mag = common_zero_point(plan.inputs, plan.science)
        kept = self._warped(zero_point_mag)
        if zero_point_mag is None:
            kept = self._scaled(kept)
        self._require_enough([each.ref for each in kept])
        if plan.recipe.template.background_matching:
            kept = self._matched(kept)
        return Gathered(kept, self._rejected)

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
                if len(waiting) > at_once:  # one more, for the thread that is done first
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
        surfaces = differential_backgrounds(
            [each.warped for each in warped],
            between=lambda done, lines: self._work.at("background", done, lines),
        )
        return [
            replace(each, warped=replace(each.warped, background=surface))
            for each, surface in zip(warped, surfaces, strict=True)
        ]

    def _reject(self, ref: ImageRef, fault: ComputationError) -> None:
        """Leave an input of an automatic choice out; of a list none may be missing."""
        if self._work.plan.explicit:
            _raise_named(ref, fault)
        self._rejected[ref.dataset_id] = fault

    def _require_enough(self, kept: list[ImageRef]) -> None:
        plan = self._work.plan
        exposure_of = plan.exposure_of()
        left = {exposure_of[ref.dataset_id] for ref in kept}
        needed = min(NEEDED_EXPOSURES, len(set(exposure_of.values())))
        if len(left) >= needed:
            return
        unreadable = [f for f in self._rejected.values() if not isinstance(f, CoverageError)]
        if unreadable:
            raise unreadable[0]
        what = f"exposures with usable pixels {describe_area(self._work.grid.footprint())}"
        named = list(self._rejected.items())[:MOST_NAMED]
        reasons = "; ".join(f"{name}: {fault}" for name, fault in named)
        raise CoverageError(f"{what} ({reasons})" if reasons else what, len(left), needed)

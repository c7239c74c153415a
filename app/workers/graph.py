"""The tasks of a build in the engine's graph: warps, then rows of the stack, then the product.

Each warp is a task. Where a stack is large a further one, which waits for the warps, prepares it,
and sub-regions of it are tasks; the task of the build waits for all. On a single place the build is
one task. However it is divided its bytes are the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from app.recipes.photometry import common_zero_point
from app.recipes.recipe import BuildPlan
from app.recipes.target import template_grid
from app.workers.remote import Submission, run_build, run_prepare, run_rows, run_warp
from app.workers.sub_regions import sub_regions
from app.workers.work import STAGES

_ORDER: Final[tuple[str, ...]] = STAGES

Told = tuple[str, int, int]
"""(stage, done, total)."""


@dataclass(frozen=True, slots=True)
class Threads:
    """How many threads a task may take: one of many of a build, and one that runs alone. None:
    as many as its worker was started with."""

    shared: int
    alone: int | None


@dataclass(frozen=True, slots=True)
class Graph:
    """Futures of the tasks of one build; ``build`` has its report."""

    build: Any
    others: tuple[Any, ...]
    warps: tuple[Any, ...]
    sub_regions: tuple[Any, ...]

    def progress(self, told: Told | None) -> Told | None:
        """How far it is, by the tasks that are done and by what one of them told last."""
        counted = [
            (stage, sum(each.status == "finished" for each in tasks), len(tasks))
            for stage, tasks in (("warp", self.warps), ("coadd", self.sub_regions))
        ]
        known = [each for each in counted if each[1]] + ([] if told is None else [told])
        return max(known, key=lambda each: _ORDER.index(each[0]), default=None)

    def cancel(self) -> None:
        """Forget what has not begun, and have stopped what runs."""
        left = [each for each in (self.build, *self.others) if not each.done()]
        if left:
            self.build.client.cancel(left)


def submit_graph(
    client: Any, submission: Submission, plan: BuildPlan, places: int, threads: Threads
) -> Graph:
    """Submit the tasks of ``plan`` where ``places`` tasks can run side by side.

    The n-th tasks of all builds come before the n+1-th of any: a build of many inputs keeps no
    other waiting.
    """
    warps = _submit_warps(client, submission, plan, places, threads)
    regions = sub_regions(template_grid(plan.recipe).shape, len(warps), places)
    prepared = None
    if regions:
        prepared = client.submit(
            run_prepare,
            submission,
            plan,
            threads.alone,
            warps,
            key=f"prepare-{submission.token}",
            pure=False,
        )
    rows = [
        client.submit(
            run_rows,
            submission,
            plan,
            each,
            threads.shared,
            prepared,
            key=(f"rows-{submission.token}", number),
            priority=-number,
            pure=False,
        )
        for number, each in enumerate(regions)
    ]
    build = client.submit(
        run_build,
        submission,
        plan,
        threads.alone,
        prepared,
        regions,
        [*warps, *rows],
        key=submission.token,
        pure=False,
    )
    others = [*warps, *([prepared] if regions else []), *rows]
    return Graph(build, tuple(others), tuple(warps), tuple(rows))


def _submit_warps(
    client: Any, submission: Submission, plan: BuildPlan, places: int, threads: Threads
) -> Sequence[Any]:
    """A task for each input, where tasks can run side by side."""
    coadds = plan.recipe.template.source == "coadds"
    if places < 2 or len(plan.inputs) < 2 or coadds:
        return []
    zero_point_mag = common_zero_point(plan.inputs, plan.science)
    bare = replace(
        plan, recipe=replace(plan.recipe, inputs=()), inputs=(), exposures=(), rejected=()
    )
    return [
        client.submit(
            run_warp,
            submission,
            replace(bare, inputs=(ref,)),
            zero_point_mag,
            threads.shared,
            key=(f"warp-{submission.token}", number),
            priority=-number,
            pure=False,
        )
        for number, ref in enumerate(plan.inputs)
    ]

"""Many builds, one job each, and what became of every one.

What was built is passed over, and a job that an earlier run left in the queue is taken up: a run
that was stopped or killed goes on where it was.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from app.errors import CoverageError, JobNotFoundError, ServiceError, told
from app.recipes.recipe import BuildKind
from app.schema.access import OPERATOR
from app.services.builds import BuildService
from app.services.jobs import ENDED, JobService
from app.uws.job import Job, Phase

Progress = Callable[[int, int], None]
"""Told (builds done, builds in all)."""
Pairs = tuple[tuple[str, str], ...]
State = Literal["built", "already there", "not enough exposures", "failed"]
STATES: Final[tuple[State, ...]] = ("built", "already there", "not enough exposures", "failed")
_LOOK_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Item:
    """One build: what it is ``of`` (name -> value, for people) and its parameters."""

    of: Mapping[str, str | int]
    parameters: Pairs


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one build; ``dataset_id`` names its product, ``reason`` says why there is
    none."""

    of: Mapping[str, str | int]
    state: State
    dataset_id: str | None = None
    reason: str | None = None


@dataclass(slots=True)
class BatchReport:
    """Outcomes in the order in which they came. ``interrupted``: there were more builds."""

    outcomes: list[Outcome] = field(default_factory=list)
    interrupted: bool = False

    def counts(self) -> dict[str, int]:
        """State -> builds."""
        found = Counter(each.state for each in self.outcomes)
        return {state: found[state] for state in STATES}

    def add(self, later: BatchReport) -> None:
        """Take over what a later run tells of the same builds and of others."""
        again = [each.of for each in later.outcomes]
        self.outcomes = [each for each in self.outcomes if each.of not in again]
        self.outcomes += later.outcomes
        self.interrupted |= later.interrupted

    @property
    def exit_status(self) -> int:
        """0 when everything that can be built is there."""
        return int(self.interrupted or self.counts()["failed"] > 0)

    def to_json(self, name: str) -> dict[str, Any]:
        """For machines; ``name`` is that of the list of outcomes."""
        builds = [
            {
                **each.of,
                "state": each.state,
                "dataset_id": each.dataset_id,
                "reason": each.reason,
            }
            for each in self.outcomes
        ]
        return {"counts": self.counts(), "interrupted": self.interrupted, name: builds}


def run_all(
    kind: BuildKind,
    items: Callable[[], Sequence[Item]],
    *,
    builds: BuildService,
    jobs: JobService,
    in_flight: int,
    progress: Progress,
) -> BatchReport:
    """Build what is missing of ``items``, ``in_flight`` jobs at a time. A build that fails never
    stops the others; Ctrl-C ends the run with a report of what was done.

    Raises what ``items`` raises.
    """
    report = BatchReport()
    run = _Run(kind, builds, jobs, in_flight, report)
    try:
        wanted = items()
        progress(0, len(wanted))
        for item in wanted:
            run.add(item)
            progress(len(report.outcomes), len(wanted))
        while run.waiting:
            run.settle()
            progress(len(report.outcomes), len(wanted))
    except KeyboardInterrupt:
        report.interrupted = True
    return report


class _Run:
    """The jobs of one batch."""

    def __init__(
        self,
        kind: BuildKind,
        builds: BuildService,
        jobs: JobService,
        in_flight: int,
        report: BatchReport,
    ) -> None:
        self._kind: BuildKind = kind
        self._builds = builds
        self._jobs = jobs
        self._in_flight = in_flight
        self._report = report
        self._left_behind = {
            job.parameters: job.job_id
            for job in jobs.list_jobs(
                kind, identity=OPERATOR, phases=(Phase.QUEUED, Phase.EXECUTING)
            )
        }
        self.waiting: dict[str, Item] = {}

    def add(self, item: Item) -> None:
        """Have it built, once there is room for its job."""
        try:
            recipe, _ = self._builds.prepare(self._kind, item.parameters, OPERATOR)
        except CoverageError as fault:
            self._tell(item, "not enough exposures", reason=told(fault))
            return
        except ServiceError as fault:
            self._tell(item, "failed", reason=told(fault))
            return
        product = self._builds.find_product(recipe.key())
        if product is not None:
            self._tell(item, "already there", dataset_id=product.dataset_id)
            return
        while len(self.waiting) >= self._in_flight:
            self.settle()
        job_id = self._left_behind.get(item.parameters)
        if job_id is None:
            job_id = self._jobs.create(self._kind, item.parameters, identity=OPERATOR).job_id
            self._jobs.start(job_id)
        self.waiting[job_id] = item

    def settle(self) -> None:
        """Wait a moment for the oldest job, then write down all that have ended."""
        self._job(next(iter(self.waiting)), wait_s=_LOOK_S)
        for job_id, item in list(self.waiting.items()):
            job = self._job(job_id)
            if job is None or job.phase in ENDED:
                del self.waiting[job_id]
                self._write_down(item, job)

    def _job(self, job_id: str, *, wait_s: float = 0.0) -> Job | None:
        try:
            return self._jobs.wait(job_id, timeout_s=wait_s)
        except JobNotFoundError:
            return None

    def _write_down(self, item: Item, job: Job | None) -> None:
        if job is None:
            self._tell(item, "failed", reason="its job was deleted")
        elif job.phase is Phase.COMPLETED:
            self._tell(item, "built", dataset_id=job.results[0].dataset_id)
        else:
            reason = job.error.message if job.error else f"its job is {job.phase.value}"
            self._tell(item, "failed", reason=reason)

    def _tell(
        self,
        item: Item,
        state: State,
        *,
        dataset_id: str | None = None,
        reason: str | None = None,
    ) -> None:
        outcome = Outcome(of=item.of, state=state, dataset_id=dataset_id, reason=reason)
        self._report.outcomes.append(outcome)

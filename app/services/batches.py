"""Templates of many patches of the sky map, each built once.

Every patch is a job of its own. What was built is passed over, and a job that an earlier run left
in the queue is taken up: a batch that was stopped or killed goes on where it was.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from app.errors import CoverageError, JobNotFoundError, ServiceError, told
from app.recipes.recipe import PatchNumber
from app.recipes.request import parse_template
from app.recipes.select import Candidate
from app.recipes.selection import LEAST_INPUTS
from app.recipes.values import Parameters
from app.services.builds import BuildService
from app.services.jobs import ENDED, JobService
from app.services.skymap import SkyMapService
from app.sky.shapes import Shape
from app.sky.skymap import SkyMap
from app.uws.job import Job, Phase

Progress = Callable[[int, int], None]
"""Told (patches done, patches in all)."""
State = Literal["built", "already there", "not enough exposures", "failed"]
STATES: Final[tuple[State, ...]] = ("built", "already there", "not enough exposures", "failed")
_LOOK_S: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRequest:
    """Which patches: those that ``shape`` touches, those of a tract, one of them, or the whole
    sky map. ``parameters`` select the inputs and say how they are combined."""

    band: str
    shape: Shape | None = None
    tract: int | None = None
    patch: int | None = None
    parameters: Parameters = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchOutcome:
    """What became of one patch; ``dataset_id`` names its template, ``reason`` says why there is
    none."""

    tract: int
    patch: int
    state: State
    dataset_id: str | None = None
    reason: str | None = None


@dataclass(slots=True)
class BatchReport:
    """Outcomes in the order in which they came. ``interrupted``: there were more patches."""

    outcomes: list[PatchOutcome] = field(default_factory=list)
    interrupted: bool = False

    def counts(self) -> dict[str, int]:
        """State -> patches."""
        found = Counter(each.state for each in self.outcomes)
        return {state: found[state] for state in STATES}

    @property
    def exit_status(self) -> int:
        """0 when every patch that can be built is there."""
        return int(self.interrupted or self.counts()["failed"] > 0)

    def to_json(self) -> dict[str, Any]:
        """For machines."""
        patches = [
            {name: getattr(each, name) for name in PatchOutcome.__slots__} for each in self.outcomes
        ]
        return {"counts": self.counts(), "interrupted": self.interrupted, "patches": patches}


class TemplateBatch:
    """Builds templates patch by patch. ``in_flight`` jobs are in the queue or run at a time."""

    def __init__(
        self,
        *,
        skymap: SkyMap,
        patches: SkyMapService,
        builds: BuildService,
        jobs: JobService,
        in_flight: int,
    ) -> None:
        self._skymap = skymap
        self._patches = patches
        self._builds = builds
        self._jobs = jobs
        self._in_flight = in_flight

    def run(self, request: BatchRequest, progress: Progress) -> BatchReport:
        """Build what is missing. A patch that fails never stops the others; Ctrl-C ends the run
        with a report of what was done.

        Raises ParameterError for wrong parameters, RegionError for numbers that no patch has,
        LimitError for a region that is too large, CoverageError where the band has no image.
        """
        parse_template(_parameters(request, (0, 0)))
        report = BatchReport()
        run = _Run(self._builds, self._jobs, self._in_flight, report)
        try:
            numbers = self._worth_building(request)
            progress(0, len(numbers))
            for number in numbers:
                run.add(number, _parameters(request, number))
                progress(len(report.outcomes), len(numbers))
            while run.waiting:
                run.settle()
                progress(len(report.outcomes), len(numbers))
        except KeyboardInterrupt:
            report.interrupted = True
        return report

    def _worth_building(self, request: BatchRequest) -> list[PatchNumber]:
        """The patches that two exposures of the band overlap."""
        images = self._patches.images_of_band(request.band, self._numbers(request))
        if not images:
            raise CoverageError(
                f"No image of band {request.band} there to make templates of", 0, LEAST_INPUTS
            )
        enough = (n for n, found in images.items() if _exposures(found) >= LEAST_INPUTS)
        return sorted(enough)

    def _numbers(self, request: BatchRequest) -> list[PatchNumber] | None:
        """None for the whole sky map."""
        if request.shape is not None:
            return self._skymap.find_numbers(request.shape)
        if request.tract is None:
            return None
        patches = range(self._skymap.patches) if request.patch is None else (request.patch,)
        numbers = [(request.tract, patch) for patch in patches]
        self._skymap.get_patch(*numbers[0])
        return numbers


class _Run:
    """The jobs of one batch."""

    def __init__(
        self, builds: BuildService, jobs: JobService, in_flight: int, report: BatchReport
    ) -> None:
        self._builds = builds
        self._jobs = jobs
        self._in_flight = in_flight
        self._report = report
        self._left_behind = {
            job.parameters: job.job_id
            for job in jobs.list_jobs("template", phases=(Phase.QUEUED, Phase.EXECUTING))
        }
        self.waiting: dict[str, PatchNumber] = {}

    def add(self, number: PatchNumber, parameters: tuple[tuple[str, str], ...]) -> None:
        """Have a patch built, once there is room for its job."""
        try:
            recipe, _ = self._builds.prepare("template", parameters)
        except CoverageError as fault:
            self._tell(number, "not enough exposures", reason=told(fault))
            return
        except ServiceError as fault:
            self._tell(number, "failed", reason=told(fault))
            return
        product = self._builds.find_product(recipe.key())
        if product is not None:
            self._tell(number, "already there", dataset_id=product.dataset_id)
            return
        while len(self.waiting) >= self._in_flight:
            self.settle()
        job_id = self._left_behind.get(parameters)
        if job_id is None:
            job_id = self._jobs.create("template", parameters).job_id
            self._jobs.start(job_id)
        self.waiting[job_id] = number

    def settle(self) -> None:
        """Wait a moment for the oldest job, then write down all that have ended."""
        self._job(next(iter(self.waiting)), wait_s=_LOOK_S)
        for job_id, number in list(self.waiting.items()):
            job = self._job(job_id)
            if job is None or job.phase in ENDED:
                del self.waiting[job_id]
                self._write_down(number, job)

    def _job(self, job_id: str, *, wait_s: float = 0.0) -> Job | None:
        try:
            return self._jobs.wait(job_id, timeout_s=wait_s)
        except JobNotFoundError:
            return None

    def _write_down(self, number: PatchNumber, job: Job | None) -> None:
        if job is None:
            self._tell(number, "failed", reason="its job was deleted")
        elif job.phase is Phase.COMPLETED:
            self._tell(number, "built", dataset_id=job.results[0].dataset_id)
        else:
            reason = job.error.message if job.error else f"its job is {job.phase.value}"
            self._tell(number, "failed", reason=reason)

    def _tell(
        self,
        number: PatchNumber,
        state: State,
        *,
        dataset_id: str | None = None,
        reason: str | None = None,
    ) -> None:
        self._report.outcomes.append(
            PatchOutcome(
                tract=number[0],
                patch=number[1],
                state=state,
                dataset_id=dataset_id,
                reason=reason,
            )
        )


def _exposures(images: Sequence[Candidate]) -> int:
    return len({image.exposure for image in images})


def _parameters(request: BatchRequest, number: PatchNumber) -> tuple[tuple[str, str], ...]:
    tract, patch = number
    where = (("TRACT", str(tract)), ("PATCH", str(patch)), ("BAND", request.band))
    return (*where, *request.parameters)

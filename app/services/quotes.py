"""When a job will probably be done (the QUOTE of UWS 1.1, section 2.1.8), from what was measured.

Every kind of job has a cost that is known before it runs. What was run says how many seconds such
a cost took; the queue in front is added. What was never measured has no quote.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from statistics import median
from typing import Final, Protocol

from app.errors import ServiceError
from app.recipes.recipe import BuildKind
from app.recipes.select import MIN_EXPOSURES
from app.services.builds import BuildService
from app.services.builds_rows import SUBTYPES
from app.services.parameters import ParameterSet
from app.services.query import QueryService
from app.services.uploads import NAME, UploadService
from app.stores.jobs import JobStore
from app.stores.tables.datasets import DatasetStore
from app.uws.job import Job, JobKind, Phase

Measured = tuple[float, float]
"""(cost, seconds) of a job that was run."""

_REMEMBERED: Final = 50
"""Jobs of a kind that the seconds are learnt from, the newest."""
_NEIGHBOURS: Final = 5
_FARTHEST: Final = 30.0
"""A cost this many times larger or smaller than any measured one says nothing."""
_FRESH_S: Final = 20.0
_MOST_KNOWN: Final = 1000
_QUERIES: Final[tuple[JobKind, ...]] = ("tap",)


class CostModel(Protocol):
    """What a job of one kind costs, in a unit of its own."""

    def before(self, job: Job) -> float:
        """The cost of a job that is to be run. Raises ServiceError when it cannot be told."""

    def measured(self) -> list[Measured]:
        """Cost, in the same unit, and seconds of what was run last."""


class QuoteService:
    """Quotes jobs. ``slots`` is how many of each kind run at a time."""

    def __init__(
        self,
        *,
        jobs: JobStore,
        costs: Mapping[JobKind, CostModel],
        slots: Mapping[JobKind, int],
        clock: Callable[[], datetime],
    ) -> None:
        self._jobs = jobs
        self._costs = costs
        self._slots = slots
        self._clock = clock
        self._learnt: dict[JobKind, tuple[float, list[Measured]]] = {}

    def quote(self, job: Job) -> datetime | None:
        """When the job will be done if it is run now, or None when nobody can say.

        A job that runs longer than it was thought to has no quote any more; one that has ended
        keeps what its row says.
        """
        if job.phase not in {Phase.PENDING, Phase.HELD, Phase.QUEUED, Phase.EXECUTING}:
            return job.quote
        if job.kind not in self._costs:
            return None
        try:
            cost = self._costs[job.kind].before(job)
            measured = self._measured(job.kind)
            seconds = predict(cost, measured)
            if seconds is None:
                return None
            return self._end(job, seconds, median(each for _, each in measured))
        except ServiceError:
            return None  # a job that cannot run, or a database that does not answer now

    def seconds(self, kind: JobKind, cost: float) -> float | None:
        """How long a job of a cost runs, or None when nothing like it was measured. Raises what
        the job store raises."""
        return predict(cost, self._measured(kind))

    def seconds_of_pixels(self, kind: BuildKind, pixels: float) -> float | None:
        """How long a build of an image runs, with as many inputs as most have."""
        return self.seconds(kind, pixels * MIN_EXPOSURES)

    def _end(self, job: Job, seconds: float, typical_s: float) -> datetime | None:
        now = self._clock()
        if job.phase is Phase.EXECUTING:
            end = (job.start_time or now) + timedelta(seconds=seconds)
            return end if end > now else None
        return now + timedelta(seconds=seconds + self._queue_s(job, typical_s))

    def _queue_s(self, job: Job, typical_s: float) -> float:
        """Seconds until a place is free, if all who are in front are as long as usual."""
        running = self._jobs.count(job.kind, Phase.EXECUTING)
        if job.phase is Phase.QUEUED:
            ahead = self._jobs.queued_before(job)
        else:
            ahead = self._jobs.count(job.kind, Phase.QUEUED)
        slots = self._slots.get(job.kind, 1)
        return max(0, running + ahead + 1 - slots) * typical_s / slots

    def _measured(self, kind: JobKind) -> list[Measured]:
        """Looked up anew every few seconds."""
        looked_s, found = self._learnt.get(kind, (-math.inf, []))
        if time.monotonic() - looked_s > _FRESH_S or not found:
            found = self._costs[kind].measured()
            self._learnt[kind] = (time.monotonic(), found)
        return found


def predict(cost: float, measured: Sequence[Measured]) -> float | None:
    """Seconds for a cost: the median of what the nearest measured costs took, in proportion.
    None when nothing near enough was measured."""

    def distance(other: float) -> float:
        return abs(math.log(cost / other))

    near = sorted(measured, key=lambda pair: distance(pair[0]))[:_NEIGHBOURS]
    seconds = [
        each * cost / other for other, each in near if distance(other) <= math.log(_FARTHEST)
    ]
    return median(seconds) if seconds else None


class QueryCosts:
    """What the database expects of a query, with the tables that it brought along."""

    def __init__(self, queries: QueryService, uploads: UploadService, jobs: JobStore) -> None:
        self._queries = queries
        self._uploads = uploads
        self._jobs = jobs
        self._known: dict[str, float | None] = {}
        self._with_uploads: dict[str, tuple[object, float]] = {}

    def before(self, job: Job) -> float:
        """The cost of the statement that answers the query. Raises UploadError for tables that
        are fetched from elsewhere when the job runs."""
        if NAME not in ParameterSet(job.parameters):
            return self._queries.cost(job, ())
        asked = (job.parameters, self._uploads.kept_sizes(job))
        known, cost = self._with_uploads.get(job.job_id, (None, 0.0))
        if known != asked:
            cost = self._queries.cost(job, self._uploads.load_kept(job, fetch=False))
            if len(self._with_uploads) > _MOST_KNOWN:
                self._with_uploads.clear()
            self._with_uploads[job.job_id] = (asked, cost)
        return cost

    def measured(self) -> list[Measured]:
        """Of the jobs that are COMPLETED."""
        done = self._jobs.list_jobs(kinds=_QUERIES, phases=(Phase.COMPLETED,), last=_REMEMBERED)
        return [
            (cost, (job.end_time - job.start_time).total_seconds())
            for job in done
            if job.start_time and job.end_time and (cost := self._cost_of(job))
        ]

    def _cost_of(self, job: Job) -> float | None:
        """The cost of a job that was run, worked out once: the database may have grown since."""
        if job.job_id not in self._known:
            if len(self._known) > _MOST_KNOWN:
                self._known.clear()
            try:
                self._known[job.job_id] = self.before(job)
            except ServiceError:
                self._known[job.job_id] = None
        return self._known[job.job_id]


class BuildCosts:
    """Pixels of the target grid times images that are brought onto it, of one kind of build."""

    def __init__(self, kind: BuildKind, builds: BuildService, datasets: DatasetStore) -> None:
        self._kind: BuildKind = kind
        self._builds = builds
        self._datasets = datasets

    def before(self, job: Job) -> float:
        """The cost of a build; that of handing out a product which is there is next to none."""
        return self._builds.cost(job)

    def measured(self) -> list[Measured]:
        """Of the products that were built last, whoever asked for them and how."""
        return [
            (float(pixels * inputs), seconds)
            for pixels, inputs, seconds in self._datasets.build_times(
                SUBTYPES[self._kind], last=_REMEMBERED
            )
        ]

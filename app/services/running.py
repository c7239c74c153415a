"""A job while it runs: what stops it, when its time is over and how far it is."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from app import traces
from app.services.executors import StopSignal
from app.uws.job import Job, JobKind


@dataclass(frozen=True, slots=True, kw_only=True)
class JobEnd:
    """How one run of a job went: seconds in all and of each stage that was seen."""

    job_id: str
    kind: JobKind
    outcome: str
    seconds: float
    stages: Mapping[str, float]


class RunningJob:
    """A claimed job while its executor works."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.should_stop = StopSignal()
        self.progress: Mapping[str, float | str] = {}
        self._started_s = self._stage_since_s = self._stage_began_s = time.monotonic()
        self._stages: dict[str, float] = {}

    def stop(self) -> None:
        """Make ``should_stop`` true: the job is no longer to be run here."""
        self.should_stop.set()

    def left_s(self) -> float | None:
        """Seconds until its execution duration (UWS 1.1, 2.1.5) is used up; None: no limit."""
        limit_s = self.job.execution_duration_s
        return None if limit_s == 0 else self._started_s + limit_s - time.monotonic()

    def overdue(self) -> bool:
        """True when the job has an execution duration and used it up."""
        left_s = self.left_s()
        return left_s is not None and left_s <= 0

    def report(self, stage: str, done: int, total: int) -> None:
        """Remember progress; it is written with the next renewal of the lease.

        ``total`` 0 means that nobody knows how much there is to do.
        """
        self._leave_stage()
        if stage != self.progress.get("stage"):
            self._trace_stage()
        known: dict[str, float | str] = {"stage": stage, "done": done}
        if total > 0:
            known |= {"total": total, "fraction": round(min(1.0, done / total), 4)}
        self.progress = known

    def _leave_stage(self) -> None:
        """The time since the last report belongs to the stage that it named."""
        now_s = time.monotonic()
        stage = self.progress.get("stage")
        if stage is not None:
            spent_s = now_s - self._stage_since_s
            self._stages[str(stage)] = self._stages.get(str(stage), 0.0) + spent_s
        self._stage_since_s = now_s

    def _trace_stage(self) -> None:
        """The time since the stage was first reported belongs to it."""
        now_s = time.monotonic()
        if "stage" in self.progress:
            traces.past(str(self.progress["stage"]), now_s - self._stage_began_s)
        self._stage_began_s = now_s

    def end(self, outcome: str) -> JobEnd:
        """What is to be told of the run."""
        self._leave_stage()
        self._trace_stage()
        return JobEnd(
            job_id=self.job.job_id,
            kind=self.job.kind,
            outcome=outcome,
            seconds=time.monotonic() - self._started_s,
            stages=self._stages,
        )

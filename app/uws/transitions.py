"""How a job moves: one table of (phase, event) -> phase (UWS 1.1, section 2.1.3).

::

    event     from                                    to          what else changes
    run       PENDING HELD                            QUEUED      -
    hold      PENDING QUEUED                          HELD        -
    start     QUEUED                                  EXECUTING   start_time, lease, attempts + 1
    start     EXECUTING (its lease ran out)           EXECUTING   lease, attempts + 1
    retry     EXECUTING                               QUEUED      lease and progress gone
    complete  QUEUED EXECUTING                        COMPLETED   end_time, results, lease gone
    fail      PENDING QUEUED EXECUTING HELD SUSPENDED ERROR       end_time, error, lease gone
    lose      QUEUED EXECUTING                        ERROR       as fail, with our own words
    abort     PENDING QUEUED EXECUTING HELD SUSPENDED ABORTED     end_time, lease gone
    archive   COMPLETED ERROR ABORTED                 ARCHIVED    results gone
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from types import MappingProxyType
from typing import Final, Literal

from app.errors import PhaseError
from app.uws.job import ACTIVE, Job, JobError, JobResult, Phase

Event = Literal["run", "hold", "start", "retry", "complete", "fail", "lose", "abort", "archive"]

TRANSITIONS: Final[Mapping[tuple[Phase, Event], Phase]] = MappingProxyType(
    {
        (Phase.PENDING, "run"): Phase.QUEUED,
        (Phase.HELD, "run"): Phase.QUEUED,
        (Phase.PENDING, "hold"): Phase.HELD,
        (Phase.QUEUED, "hold"): Phase.HELD,
        (Phase.QUEUED, "start"): Phase.EXECUTING,
        (Phase.EXECUTING, "start"): Phase.EXECUTING,
        (Phase.EXECUTING, "retry"): Phase.QUEUED,
        (Phase.QUEUED, "complete"): Phase.COMPLETED,
        (Phase.EXECUTING, "complete"): Phase.COMPLETED,
        (Phase.QUEUED, "lose"): Phase.ERROR,
        (Phase.EXECUTING, "lose"): Phase.ERROR,
        (Phase.COMPLETED, "archive"): Phase.ARCHIVED,
        (Phase.ERROR, "archive"): Phase.ARCHIVED,
        (Phase.ABORTED, "archive"): Phase.ARCHIVED,
        **{(phase, "fail"): Phase.ERROR for phase in ACTIVE},
        **{(phase, "abort"): Phase.ABORTED for phase in ACTIVE},
    }
)


def step(
    job: Job,
    event: Event,
    now: datetime,
    *,
    results: tuple[JobResult, ...] | None = None,
    error: JobError | None = None,
    lease_owner: str | None = None,
    lease_until: datetime | None = None,
) -> Job:
    """The job after ``event``. Raises PhaseError when its phase does not accept the event.

    ``results`` goes with ``complete``, ``error`` with ``fail``, the lease with ``start``.
    """
    phase = TRANSITIONS.get((job.phase, event))
    if phase is None:
        raise PhaseError(job.phase.value, event.upper())
    moved = replace(job, phase=phase, lease_owner=lease_owner, lease_until=lease_until)
    if phase is Phase.EXECUTING:
        started = job.start_time or now
        return replace(moved, start_time=started, attempts=job.attempts + 1, progress={})
    if phase is Phase.COMPLETED:
        found = job.results if results is None else results
        return replace(moved, end_time=now, results=found, error=None)
    if phase is Phase.ERROR:
        return replace(moved, end_time=now, error=_lost(job) if event == "lose" else error)
    if phase is Phase.ABORTED:
        return replace(moved, end_time=now)
    if phase is Phase.ARCHIVED:
        return replace(moved, results=())
    return replace(moved, progress={})


def _lost(job: Job) -> JobError:
    """Why a job ends that was started again and again and never finished."""
    return JobError(
        message=f"The workers that ran this job were lost; it was tried {job.attempts} times",
        transient=True,
        fault="EngineBusyError",
    )

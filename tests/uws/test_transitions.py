"""A job moves only as the table says, and what else changes with each move."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import get_args

import pytest

from app.errors import PhaseError
from app.uws.job import ACTIVE, Job, JobError, JobResult, Phase
from app.uws.transitions import TRANSITIONS, Event, step

NOW = datetime(2026, 3, 1, tzinfo=UTC)
LATER = NOW + timedelta(seconds=5)
JOB = Job(
    job_id="j",
    kind="tap",
    phase=Phase.PENDING,
    creation_time=NOW,
    destruction=NOW + timedelta(days=1),
)
RESULT = JobResult(result_id="result", media_type="text/csv", path="results/j")
ERROR = JobError(message="no", transient=False, fault="UsageError")


def running() -> Job:
    """An EXECUTING job."""
    return step(
        step(JOB, "run", NOW),
        "start",
        NOW,
        lease_owner="me",
        lease_until=LATER,
    )


@pytest.mark.parametrize("phase", list(Phase))
@pytest.mark.parametrize("event", get_args(Event))
def test_what_is_not_in_the_table_is_refused(phase: Phase, event: Event) -> None:
    job = replace(JOB, phase=phase)
    if (phase, event) in TRANSITIONS:
        assert step(job, event, NOW).phase is TRANSITIONS[phase, event]
    else:
        with pytest.raises(PhaseError) as caught:
            step(job, event, NOW)
        assert caught.value.args == (phase.value, event.upper())


def test_nothing_leaves_an_ended_job_but_archiving() -> None:
    ended = set(Phase) - ACTIVE
    assert {event for phase, event in TRANSITIONS if phase in ended} == {"archive"}


def test_starting_counts_attempts_and_takes_the_lease() -> None:
    job = running()
    assert (job.attempts, job.start_time, job.lease_owner, job.lease_until) == (
        1,
        NOW,
        "me",
        LATER,
    )
    again = step(job, "start", LATER, lease_owner="you", lease_until=LATER)
    assert (again.attempts, again.start_time, again.lease_owner) == (2, NOW, "you")


def test_completing_keeps_the_results_and_drops_the_lease() -> None:
    job = step(running(), "complete", LATER, results=(RESULT,))
    assert (job.results, job.end_time, job.lease_owner, job.lease_until) == (
        (RESULT,),
        LATER,
        None,
        None,
    )


def test_failing_keeps_the_reason() -> None:
    job = step(running(), "fail", LATER, error=ERROR)
    assert (job.phase, job.error, job.end_time, job.lease_owner) == (
        Phase.ERROR,
        ERROR,
        LATER,
        None,
    )


def test_a_lost_job_says_so_itself() -> None:
    error = step(running(), "lose", LATER).error
    assert error is not None and error.transient and "tried 1 times" in error.message


def test_a_retried_job_waits_again_without_lease_or_progress() -> None:
    job = step(replace(running(), progress={"stage": "warp"}), "retry", LATER)
    assert (job.phase, job.lease_owner, job.progress, job.attempts) == (
        Phase.QUEUED,
        None,
        {},
        1,
    )


def test_an_aborted_job_ends_now() -> None:
    job = step(running(), "abort", LATER)
    assert (job.phase, job.end_time, job.lease_owner) == (Phase.ABORTED, LATER, None)


def test_an_archived_job_has_no_results() -> None:
    done = step(running(), "complete", LATER, results=(RESULT,))
    assert step(done, "archive", LATER).results == ()

"""What the dispatcher asks of whatever runs jobs of one kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from app.uws.job import Job, JobResult
from app.workers.engine import Progress

ShouldStop = Callable[[], bool]
"""True once the job was aborted, destroyed or taken over: stop at the next chance."""


class Executor(Protocol):
    """Runs one kind of job. Implementations: ``query.TapExecutor``, ``builds.BuildExecutor``."""

    def run(
        self, job: Job, should_stop: ShouldStop, progress: Progress
    ) -> tuple[JobResult, ...] | None:
        """Do the work of an EXECUTING ``job``; called in a thread of its own.

        Returns the results the dispatcher is to record with COMPLETED, or None when the job row
        was already completed (a published product completes its jobs in its own transaction).

        Raises
        ------
        StoppedError
            Soon after ``should_stop()`` became true.
        TransientError
            The work may be tried again.
        ServiceError
            The work failed for good; the message is for the user.
        """

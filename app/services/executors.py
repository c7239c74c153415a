"""What the dispatcher asks of whatever runs jobs of one kind."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

from app.uws.job import Job, JobResult
from app.workers.engine import Progress

ShouldStop = Callable[[], bool]
"""True once the job was aborted, destroyed or taken over: stop at the next chance."""


class StopSignal:
    """A :data:`ShouldStop` that can also interrupt what does not ask."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._set = False
        self._actions: list[Callable[[], None]] = []

    def __call__(self) -> bool:
        return self._set

    def set(self) -> None:
        """Become true and do what :meth:`then` was given, once."""
        with self._lock:
            actions, self._actions, self._set = self._actions, [], True
        for action in actions:
            action()

    def then(self, action: Callable[[], None]) -> None:
        """Have ``action`` called as soon as the signal is set: now, if it is."""
        with self._lock:
            if not self._set:
                self._actions.append(action)
                return
        action()


class Executor(Protocol):
    """Runs one kind of job: ``query.TapExecutor`` and ``build_executor.BuildExecutor`` do."""

    def run(
        self, job: Job, should_stop: StopSignal, progress: Progress
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

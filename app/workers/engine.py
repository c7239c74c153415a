"""What the builds service asks of an engine, whatever runs underneath."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from app.recipes.recipe import BuildPlan, BuildReport

Progress = Callable[[str, int, int], None]
"""Called with (stage, done, total)."""


class Build(Protocol):
    """A build under way."""

    def done(self) -> bool:
        """True once it ended, well or badly."""

    def wait(self, timeout_s: float) -> bool:
        """Block until it ended or the time is over; True once it ended."""

    def result(self) -> BuildReport:
        """The report; raises the worker's own ServiceError, or EngineBusyError if it was lost."""

    def progress(self) -> tuple[str, int, int] | None:
        """The latest (stage, done, total), if any was reported."""

    def stop(self) -> None:
        """Ask it to stop at its next tile; ``result`` then raises StoppedError."""


class Engine(Protocol):
    """Runs plans. Implementations: :mod:`app.workers.embedded`, :mod:`app.workers.cluster`."""

    def submit(self, job_id: str, plan: BuildPlan) -> Build:
        """Start a build; returns at once. Raises EngineBusyError when no worker can be had."""

    def describe(self) -> str:
        """One line for a person: where work runs and with how many workers."""

    def close(self) -> None:
        """Stop the workers; builds under way end with StoppedError."""

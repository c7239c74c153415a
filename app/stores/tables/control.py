"""How a statement that runs is stopped from outside."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from app.errors import StoppedError

Interrupt = Callable[[], object]


class StatementControl:
    """Stops one stream of rows, from any thread and at any time.

    The store that runs the statement says how it is interrupted while it runs
    (:meth:`running`); whoever holds the control calls :meth:`cancel`.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._interrupt: Interrupt | None = None
        self._cancelled = False

    @property
    def cancelled(self) -> bool:
        """Whether :meth:`cancel` was called."""
        return self._cancelled

    def cancel(self) -> None:
        """Stop the statement in the database; return when the database was told.

        The stream then raises StoppedError, at its start if it has not begun. Calling again, or
        after the end, does nothing.
        """
        self._cancelled = True
        # Under the lock, so that the connection cannot meanwhile run somebody else's statement.
        with self._lock:
            interrupt, self._interrupt = self._interrupt, None
            if interrupt is not None:
                interrupt()

    def check(self) -> None:
        """Raise StoppedError once cancelled."""
        if self._cancelled:
            raise StoppedError

    @contextmanager
    def running(self, interrupt: Interrupt) -> Iterator[None]:
        """The time in which ``interrupt`` stops the statement. What the statement raises because
        it was stopped leaves as StoppedError."""
        with self._lock:
            self._interrupt = interrupt
        try:
            self.check()
            yield
        except Exception as error:
            if self._cancelled and not isinstance(error, StoppedError):
                raise StoppedError from error
            raise
        finally:
            with self._lock:
                self._interrupt = None

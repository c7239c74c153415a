"""How a statement that runs is stopped from outside."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

from app.errors import StoppedError

Interrupt = Callable[[], object]


class Pace:
    """How a statement gives way to others while it runs, to be changed from any thread.

    It is a word in memory, at ``address``, that compiled code reads again and again: for so many
    1024ths of the time that it ran it sleeps, without holding anything that others wait for.
    """

    def __init__(self) -> None:
        self._word = np.zeros(1, np.int64)
        self.address = int(self._word.ctypes.data)

    @property
    def rest(self) -> float:
        """Seconds that the statement sleeps for each in which it runs."""
        return float(self._word[0]) / 1024

    @rest.setter
    def rest(self, share: float) -> None:
        self._word[0] = round(1024 * share)


class StatementControl:
    """Stops one stream of rows, from any thread and at any time.

    The store that runs the statement says how it is interrupted while it runs
    (:meth:`running`); whoever holds the control calls :meth:`cancel`. A store that can, heeds the
    ``pace``: SQLite, whose statements take the cores of this machine.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._interrupt: Interrupt | None = None
        self._cancelled = False
        self.pace = Pace()

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

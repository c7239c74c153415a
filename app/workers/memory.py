"""How worker processes keep memory: planes of images come and go by the dozen of megabytes.

The C library gives each back to the system at once and asks for a fresh one, whose pages the system
first has to clear: that takes as long as half of what is done with them. Workers keep what was
freed while they build, and give it back some seconds after the last task.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

IDLE_S: Final = 10.0

WORKER_ENVIRONMENT: Final = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": str(2**30),
    "MALLOC_TRIM_THRESHOLD_": str(2**40),
}
"""Settings of the GNU C library for a process that is started; other libraries take no notice."""

NANNY_SETTINGS: Final = {
    f"distributed.nanny.pre-spawn-environ.{name}": value
    for name, value in WORKER_ENVIRONMENT.items()
}
"""The same as settings of Dask, to be in force when a worker's nanny is made."""


class _Keeper:
    """Counts the tasks under way and waits for a while without any."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tasks = 0
        self._timer: threading.Timer | None = None

    def begin(self) -> None:
        """A task begins."""
        with self._lock:
            self._tasks += 1
            if self._timer is not None:
                self._timer.cancel()

    def end(self) -> None:
        """A task ends."""
        with self._lock:
            self._tasks -= 1
            if self._tasks == 0:
                self._timer = threading.Timer(IDLE_S, _release)
                self._timer.daemon = True
                self._timer.start()


def _release() -> None:
    with suppress(OSError, AttributeError):  # no GNU C library
        ctypes.CDLL(None).malloc_trim(0)


_KEEPER: Final = _Keeper()


@contextmanager
def memory_kept() -> Iterator[None]:
    """The work of one task; what it freed goes back to the system when no other follows soon."""
    _KEEPER.begin()
    try:
        yield
    finally:
        _KEEPER.end()

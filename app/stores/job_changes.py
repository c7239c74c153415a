"""Who waits for a job hears at once that it was written, within this process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Listener = Callable[[], None]


class JobChanges:
    """Listeners of jobs. Writes of other servers are not heard: who waits also looks by itself,
    rarely."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._listeners: dict[str, list[Listener]] = {}

    def announce(self, job_id: str) -> None:
        """Call everybody who listens to the job; from any thread, after the write is committed."""
        with self._lock:
            listeners = tuple(self._listeners.get(job_id, ()))
        for listener in listeners:
            listener()

    @contextmanager
    def listening(self, job_id: str, listener: Listener) -> Iterator[None]:
        """Have ``listener`` called, in the writer's thread, whenever the job was written."""
        with self._lock:
            self._listeners.setdefault(job_id, []).append(listener)
        try:
            yield
        finally:
            with self._lock:
                left = self._listeners[job_id]
                left.remove(listener)
                if not left:
                    del self._listeners[job_id]

"""Threads of which one gives way to the others when its work takes long."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, Final

NICER: Final = 5
"""Added to the niceness of long work: a core that is also wanted for something short gives it a
quarter."""


class Work:
    """Something to be done in a thread; ``future`` tells what came of it."""

    def __init__(self, call: Callable[[], Any], *, is_low: bool) -> None:
        self.future: Future[Any] = Future()
        self.future.set_running_or_notify_cancel()  # what has begun runs to its end
        self._call = call
        self._lock = threading.Lock()
        self._thread: int | None = None
        self._is_low = is_low

    def lower(self) -> None:
        """Let its thread give way from now on."""
        with self._lock:
            if self._thread is not None and not self._is_low:
                _lower(self._thread)
            self._is_low = True

    def do(self) -> bool:
        """Do it in this thread; whether the thread's priority was lowered."""
        with self._lock:
            self._thread = threading.get_native_id()
            if self._is_low:
                _lower(self._thread)
        try:
            result = self._call()
        except BaseException as error:
            self.future.set_exception(error)
        else:
            self.future.set_result(result)
        with self._lock:
            self._thread = None
            return self._is_low


class YieldingThreads:
    """At most ``count`` threads, made when they are wanted. One whose priority was lowered ends
    with its work: nobody but root could raise it again."""

    def __init__(self, count: int, name: str) -> None:
        self._count = count
        self._name = name
        self._waiting: SimpleQueue[Work] = SimpleQueue()
        self._lock = threading.Lock()
        self._made = 0
        self._idle = 0

    def submit(self, call: Callable[[], Any], *, is_low: bool) -> Work:
        """Have something done, giving way from the start if it ``is_low``."""
        work = Work(call, is_low=is_low)
        with self._lock:
            self._waiting.put(work)
            if self._idle > 0:
                self._idle -= 1
            elif self._made < self._count:
                self._make()
        return work

    def _make(self) -> None:
        self._made += 1
        threading.Thread(target=self._serve, name=self._name, daemon=True).start()

    def _serve(self) -> None:
        while True:
            if self._waiting.get().do():
                break
            with self._lock:
                if self._waiting.empty():
                    self._idle += 1
        with self._lock:
            self._made -= 1
            if not self._waiting.empty() and self._idle == 0:
                self._make()


def _lower(thread: int) -> None:
    """Linux keeps a niceness for each thread; elsewhere it is that of the whole process."""
    if sys.platform == "linux":
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + NICER)

"""Run a row kernel over bands of rows in threads.

The numba kernels of this room release the GIL and write only the rows they are given, so a result
never depends on how many threads ran it. Numba's own parallel layers are not used: some of them
abort the process when two threads launch kernels at once, or after a fork.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from typing import TypeVar

_First = TypeVar("_First")
_Second = TypeVar("_Second")
RowKernel = Callable[[int, int], None]
"""Does the rows ``start <= y < stop``."""
Between = Callable[[int, int], None]
"""Told (rows done, rows in all) before each band, by the calling thread; may raise to stop."""

_THREADS: ContextVar[int | None] = ContextVar("skyloom_pixel_threads", default=None)


def thread_count() -> int:
    """How many threads a call may use: the limit set by :func:`limit_threads`, or the cores."""
    limit = _THREADS.get()
    if limit is not None:
        return limit
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def limit_threads(count: int) -> Iterator[None]:
    """Within the block, calls made by this thread use at most ``count`` threads."""
    token = _THREADS.set(max(1, count))
    try:
        yield
    finally:
        _THREADS.reset(token)


def over_rows(
    kernel: RowKernel, rows: int, *, band_rows: int = 64, between: Between = lambda *_: None
) -> None:
    """Call ``kernel(start, stop)`` for consecutive bands that cover ``0 <= y < rows``.

    The first error that a band or ``between`` raises is raised here; bands that have not begun are
    left undone then.
    """
    starts = range(0, rows, band_rows)
    threads = min(thread_count(), len(starts))
    if threads <= 1:
        for start in starts:
            between(start, rows)
            kernel(start, min(start + band_rows, rows))
        return
    with ThreadPoolExecutor(threads) as pool:
        tasks = [pool.submit(kernel, start, min(start + band_rows, rows)) for start in starts]
        try:
            for start, task in zip(starts, tasks, strict=True):
                between(start, rows)
                task.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def side_by_side(
    first: Callable[[], _First], second: Callable[[], _Second]
) -> tuple[_First, _Second]:
    """What two independent calls return, each made with half of the threads."""
    threads = thread_count()
    if threads == 1:
        return first(), second()
    with ThreadPoolExecutor(1) as pool, limit_threads(threads // 2):
        other = pool.submit(copy_context().run, second)
        return first(), other.result()

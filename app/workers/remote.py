"""What runs inside a Dask worker process: one build, its reports home and its ear for stop."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

from distributed import Event, Worker, get_worker

from app.pixels.bands import limit_threads
from app.recipes.recipe import BuildPlan, BuildReport
from app.stores.images import ImageStore
from app.stores.warps import WarpStore
from app.workers.tasks import build
from app.workers.work import Limits

PROGRESS_TOPIC = "skyloom-progress"
STOP_CHECK_S = 0.25
"""Asking the scheduler costs a round trip: not more often than this."""


def dask_setup(worker: Worker) -> None:
    """Called in each worker process when it starts (this module is preloaded there).

    Ctrl-C reaches every process of a terminal; only the server may act on it and stop the workers
    in order.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def run_build(
    token: str, plan: BuildPlan, data_dir: str, limits: Limits, threads: int | None = None
) -> BuildReport:
    """Build ``plan`` in this worker. ``token`` names this submission in events and topics.

    Pixel work takes ``threads`` threads; without a number as many as the worker was started with,
    so that the workers of one machine do not crowd each other out.
    """
    worker = get_worker()

    def progress(stage: str, done: int, total: int) -> None:
        worker.log_event(PROGRESS_TOPIC, {"token": token, "at": [stage, done, total]})

    images = ImageStore(data_dir=Path(data_dir))
    warps = WarpStore(folder=Path(data_dir) / "cache" / "warps", max_bytes=limits.warp_cache_bytes)
    with limit_threads(threads or int(worker.state.nthreads)):
        return build(plan, _stop_check(Event(token)), progress, images, warps, limits)


def _stop_check(stop: Event) -> Callable[[], bool]:
    """``should_stop`` over a distributed event, throttled; once true it stays true."""
    asked_at = -STOP_CHECK_S
    answer = False

    def should_stop() -> bool:
        nonlocal asked_at, answer
        now = time.monotonic()
        if not answer and now - asked_at >= STOP_CHECK_S:
            asked_at, answer = now, bool(stop.is_set())
        return answer

    return should_stop

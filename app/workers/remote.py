"""What runs inside Dask worker processes: the tasks of a build, their reports home, their ear for
stop.

One task for each exposure leaves its warp in the warp folder; the task of the build itself, which
waits for them, finds it there. A warp that is not there, or was lost, it makes.
"""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from distributed import Event, Worker, get_worker

from app.errors import ComputationError
from app.pixels.bands import limit_threads
from app.pixels.grid import Grid
from app.recipes.recipe import BuildPlan, BuildReport
from app.stores.images import ImageStore
from app.stores.warps import WarpStore
from app.workers.tasks import build
from app.workers.template import warp_ahead
from app.workers.work import Limits, Work

PROGRESS_TOPIC = "skyloom-progress"
STOP_CHECK_S = 0.25
"""Asking the scheduler costs a round trip: not more often than this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """What the tasks of one build are told beside their plan.

    ``token`` names the submission in events and topics. ``mark`` is a file that the server made in
    its ``data_dir``.
    """

    token: str
    data_dir: str
    mark: str
    limits: Limits


def dask_setup(worker: Worker) -> None:
    """Called in each worker process when it starts (this module is preloaded there).

    Ctrl-C reaches every process of a terminal; only the server may act on it and stop the workers
    in order.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def run_warp(
    submission: Submission, plan: BuildPlan, zero_point_mag: float | None, threads: int
) -> None:
    """Warp the only input of ``plan``, which is one of those of the build."""
    images, warps = _stores(submission)
    work = Work(
        plan=plan,
        grid=Grid.from_text(plan.recipe.grid),
        images=images,
        warps=warps,
        limits=submission.limits,
        should_stop=lambda: False,  # it is short, and cancelled where it has not begun
        progress=lambda *_: None,
    )
    with limit_threads(threads):
        warp_ahead(work, plan.inputs[0], zero_point_mag)


def run_build(
    submission: Submission, plan: BuildPlan, threads: int | None, _warped: Sequence[None] = ()
) -> BuildReport:
    """Build ``plan`` in this worker, after its warps.

    Pixel work takes ``threads`` threads; without a number as many as the worker was started with,
    so that the workers of one machine do not crowd each other out.
    """
    worker, token = get_worker(), submission.token

    def progress(stage: str, done: int, total: int) -> None:
        worker.log_event(PROGRESS_TOPIC, {"token": token, "at": [stage, done, total]})

    images, warps = _stores(submission)
    with limit_threads(threads or int(worker.state.nthreads)):
        return build(plan, _stop_check(Event(token)), progress, images, warps, submission.limits)


def _stores(submission: Submission) -> tuple[ImageStore, WarpStore]:
    """Raises ComputationError when the data folder here is not the server's."""
    data_dir = Path(submission.data_dir)
    if not Path(submission.mark).exists():
        raise ComputationError(
            f"The worker on {socket.gethostname()} does not see the server's data folder "
            f"{data_dir}: server and workers must share it under this path"
        )
    warps = WarpStore(
        folder=data_dir / "cache" / "warps", max_bytes=submission.limits.warp_cache_bytes
    )
    return ImageStore(data_dir=data_dir), warps


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

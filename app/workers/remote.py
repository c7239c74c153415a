"""What runs inside Dask worker processes: the tasks of a build, their reports home, their ear for
stop.

Tasks leave warps and rows of stacks in a folder; those that wait for them find them there. What is
not there, or was lost, they make.
"""

from __future__ import annotations

import logging
import signal
import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from app import traces
from app.errors import ComputationError
from app.logs import about, configure_as_parent
from app.pixels.bands import limit_threads
from app.recipes.recipe import BuildPlan, BuildReport
from app.recipes.target import template_grid
from app.stores.coadd_rows import CoaddRowsStore
from app.stores.images import ImageStore
from app.stores.remote.files import RemoteFiles
from app.stores.warps import WarpStore
from app.workers.engine import Progress
from app.workers.gather import warp_ahead
from app.workers.memory import memory_kept
from app.workers.sub_regions import Ahead, Preparation, Rows, prepare, rows_ahead
from app.workers.tasks import build_product
from app.workers.work import Limits, Work

if TYPE_CHECKING:
    from distributed import Worker

log = logging.getLogger(__name__)

PROGRESS_TOPIC = "skyloom-progress"


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """What the tasks of one build are told beside their plan.

    ``job_id`` is what the log names; ``token`` names the submission in events and topics. ``mark``
    is a file that the server made in its ``data_dir``. ``traceparent`` is the job's own span.
    """

    token: str
    job_id: str
    data_dir: str
    mark: str
    limits: Limits
    remote: RemoteFiles | None = None
    traceparent: str | None = None


def dask_setup(worker: Worker) -> None:
    """Called in each worker process when it starts (this module is preloaded there).

    Ctrl-C reaches every process of a terminal; only the server may act on it and stop the workers
    in order.
    """
    configure_as_parent()
    traces.configure()
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def run_warp(
    submission: Submission, plan: BuildPlan, zero_point_mag: float | None, threads: int
) -> None:
    """Warp the only input of ``plan``, which is one of those of the build."""
    work = _work(submission, plan, progress=_uncounted)
    with memory_kept(), limit_threads(threads), _traced("warp an exposure", submission):
        warp_ahead(work, plan.inputs[0], zero_point_mag)


def run_prepare(
    submission: Submission, plan: BuildPlan, threads: int | None, _warped: Sequence[None]
) -> Preparation:
    """Prepare the stack of ``plan``, after its warps."""
    work = _work(submission, plan, progress=_reporter(submission))
    with (
        memory_kept(),
        limit_threads(threads or _own_threads()),
        _traced("prepare a stack", submission),
    ):
        return prepare(work)


def run_rows(
    submission: Submission, plan: BuildPlan, rows: Rows, threads: int, preparation: Preparation
) -> None:
    """Stack some rows of ``plan``."""
    work = _work(submission, plan, progress=_uncounted)
    with memory_kept(), limit_threads(threads), _traced("stack some rows", submission):
        rows_ahead(work, preparation, rows, _rows_store(submission))


def run_build(
    submission: Submission,
    plan: BuildPlan,
    threads: int | None,
    preparation: Preparation | None = None,
    sub_regions: tuple[Rows, ...] = (),
    _done: Sequence[None] = (),
) -> BuildReport:
    """Build ``plan`` in this worker, after its warps and the rows of its stack.

    Pixel work takes ``threads`` threads; without a number as many as the worker was started with,
    so that the workers of one machine do not crowd each other out.
    """
    work = _work(submission, plan, progress=_reporter(submission))
    ahead = None
    if preparation is not None:
        ahead = Ahead(preparation, sub_regions, _rows_store(submission))
    with (
        memory_kept(),
        limit_threads(threads or _own_threads()),
        about(job=submission.job_id),
        _traced("build", submission),
    ):
        report = build_product(work, ahead)
        log.info("built %s", Path(plan.output_path).name)
        return report


def _traced(name: str, submission: Submission) -> AbstractContextManager[object]:
    """A task as a part of the trace of its job."""
    parent, job_id = submission.traceparent, submission.job_id
    return traces.span(name, parent=parent, kind="consumer", skyloom_job=job_id)


def _this_worker() -> Worker:
    """The worker that runs the task. Dask is imported where it works: a server that does not build
    starts without it."""
    from distributed import get_worker

    return get_worker()


def _own_threads() -> int:
    return int(_this_worker().state.nthreads)


def _work(submission: Submission, plan: BuildPlan, *, progress: Progress) -> Work:
    """The work of one task. Raises ComputationError when the data folder is not the server's."""
    if not Path(submission.mark).exists():
        raise ComputationError(
            f"The worker on {socket.gethostname()} does not see the server's data folder "
            f"{submission.data_dir}: server and workers must share it under this path"
        )
    return Work(
        plan=plan,
        grid=template_grid(plan.recipe),
        images=ImageStore(data_dir=Path(submission.data_dir), remote=submission.remote),
        warps=WarpStore(folder=_cache(submission), max_bytes=submission.limits.warp_cache_bytes),
        limits=submission.limits,
        should_stop=_stop_check(),
        progress=progress,
    )


def _rows_store(submission: Submission) -> CoaddRowsStore:
    return CoaddRowsStore(folder=_cache(submission))


def _cache(submission: Submission) -> Path:
    """The folder of warps; what lies there is bounded as a whole."""
    return Path(submission.data_dir) / "cache" / "warps"


def _reporter(submission: Submission) -> Progress:
    worker = _this_worker()

    def report(stage: str, done: int, total: int) -> None:
        worker.log_event(PROGRESS_TOPIC, {"token": submission.token, "at": [stage, done, total]})

    return report


def _uncounted(_stage: str, _done: int, _total: int) -> None:
    """Of tasks that are counted themselves."""


def _stop_check() -> Callable[[], bool]:
    """Whether this task was cancelled: its build was stopped or failed, or its server is gone."""
    worker = _this_worker()
    key, tasks = worker.get_current_task(), worker.state.tasks

    def should_stop() -> bool:
        task = tasks.get(key)
        return task is None or task.state == "cancelled"

    return should_stop

"""The side of Dask that both engines share: submitting, listening, stopping, naming what failed."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import CancelledError
from contextlib import suppress
from pathlib import Path
from typing import Any

from app import traces
from app.errors import EngineBusyError, ServiceError, StoppedError
from app.recipes.recipe import BuildPlan, BuildReport
from app.stores.files_atomic import storage_faults
from app.stores.remote.files import RemoteFiles
from app.workers.engine import Build
from app.workers.graph import Graph, Threads, Told, submit_graph
from app.workers.remote import PROGRESS_TOPIC, Submission
from app.workers.work import Limits

QUIET = logging.CRITICAL
"""Dask tells of every lost worker at WARNING and ERROR; the job record says it better."""

CLOSE_TIMEOUT_S = 5.0
LOST_CHECK_S = 0.5
"""How often a waiting caller looks whether there are workers at all."""

Latest = dict[str, Told]


def quieten() -> None:
    """Keep Dask's own loggers out of the service's log."""
    for name in ("distributed", "distributed.nanny", "distributed.worker", "distributed.client"):
        logging.getLogger(name).setLevel(QUIET)


class DaskBuild:
    """The submitted tasks of one build."""

    def __init__(
        self, *, graph: Graph, token: str, latest: Latest, lost: Callable[[], bool]
    ) -> None:
        self._graph = graph
        self._lost = lost
        self._token = token
        self._latest = latest
        self._stopping = False
        self._ended = threading.Event()
        graph.build.add_done_callback(lambda _: self._ended.set())

    def done(self) -> bool:
        """True once it ended, well or badly."""
        return self._stopping or bool(self._graph.build.done()) or self._lost()

    def wait(self, timeout_s: float) -> bool:
        """Block until it ended or the time is over; True once it ended."""
        deadline = time.monotonic() + timeout_s
        while not self.done() and (left_s := deadline - time.monotonic()) > 0:
            self._ended.wait(min(left_s, LOST_CHECK_S))
        return self.done()

    def result(self) -> BuildReport:
        """The report. Raises the worker's own error, StoppedError or EngineBusyError.

        Tasks that a failed build has left are cancelled.
        """
        from distributed.scheduler import KilledWorker, NoValidWorkerError

        try:
            return self._report()
        except ServiceError:
            raise
        except (KilledWorker, NoValidWorkerError) as lost:
            raise EngineBusyError("the worker processes of this build were killed") from lost
        except CancelledError as lost:
            raise EngineBusyError("the connection to the workers was lost") from lost
        finally:
            self._latest.pop(self._token, None)
            self._cancel()

    def _report(self) -> BuildReport:
        """What the last task gives back. One whose worker dies with it is run again."""
        timeout_s = LOST_CHECK_S
        while not self._stopping:
            if self._lost():
                raise EngineBusyError("no worker process is left")
            try:
                report: BuildReport = self._graph.build.result(timeout=timeout_s)
            except TimeoutError:  # of this wait, unless the build itself ended with one
                if self._graph.build.status == "error":
                    raise self._graph.build.exception() from None
                timeout_s *= 2.0  # a busy machine needs longer to hand over the report
            else:
                return report
        raise StoppedError()

    def progress(self) -> tuple[str, int, int] | None:
        """The latest (stage, done, total), if any was reported."""
        return self._graph.progress(self._latest.get(self._token))

    def stop(self) -> None:
        """Cancel the tasks; those that run notice it."""
        if self._stopping or self._graph.build.done():
            return
        self._stopping = True
        self._ended.set()
        self._cancel()

    def _cancel(self) -> None:
        with suppress(OSError, RuntimeError, CancelledError):  # without a scheduler nothing is left
            self._graph.cancel()


class DaskRunner:
    """Submits builds through a client that ``connect`` makes when it is first needed.

    ``connect`` returns a connected ``distributed.Client`` and is called again after the
    connection broke; ``lost`` tells when builds under way have no hope left.
    ``limits`` is what a build may take of its machine, ``remote`` what reads images that lie
    elsewhere. All workers together have ``cores``; None:
    each has as many as it was started with threads.
    """

    def __init__(
        self,
        *,
        connect: Callable[[], Any],
        data_dir: Path,
        limits: Limits,
        remote: RemoteFiles | None = None,
        lost: Callable[[], bool] = lambda: False,
        cores: int | None = None,
    ) -> None:
        self._connect = connect
        self._cores = cores
        self._limits = limits
        self._lost = lost
        self._remote = remote
        self._data_dir = data_dir.absolute()
        self._mark = self._data_dir / "work" / f"server-{uuid.uuid4().hex}"
        self._lock = threading.Lock()
        self._client: Any = None
        self._latest: Latest = {}
        self._builds: list[Build] = []

    def submit(self, job_id: str, plan: BuildPlan) -> Build:
        """Start a build. Raises EngineBusyError when the scheduler does not answer."""
        with storage_faults(self._mark.name):
            self._mark.parent.mkdir(parents=True, exist_ok=True)
            self._mark.touch()
        submission = Submission(
            token=f"build-{job_id}-{uuid.uuid4().hex}",
            job_id=job_id,
            data_dir=str(self._data_dir),
            mark=str(self._mark),
            limits=self._limits,
            remote=self._remote,
            traceparent=traces.carried(),
        )
        try:
            client = self.client()
            places = sum(client.nthreads().values())
            threads = Threads(self._task_threads(places), self._build_threads(places))
            graph = submit_graph(client, submission, plan, places, threads)
        except (OSError, RuntimeError, CancelledError) as refused:
            raise EngineBusyError(f"no scheduler: {refused}") from refused
        build = DaskBuild(
            graph=graph,
            token=submission.token,
            latest=self._latest,
            lost=self._lost,
        )
        with self._lock:
            self._builds = [each for each in self._builds if not each.done()] + [build]
        return build

    def _task_threads(self, places: int) -> int:
        """Of one task of many that run side by side."""
        return 1 if self._cores is None else max(1, self._cores // max(1, places))

    def _build_threads(self, places: int) -> int | None:
        """The cores are shared by the builds under way, as far as there are workers for them."""
        if self._cores is None:
            return None
        with self._lock:
            running = 1 + sum(not each.done() for each in self._builds)
        return max(1, self._cores // max(1, min(places, running)))

    def client(self) -> Any:
        """The connected client; made, or made anew, when there is none that runs."""
        with self._lock:
            if not self.started():
                self._hang_up()
                self._client = self._connect()
                self._client.subscribe_topic(PROGRESS_TOPIC, self._hear)
            return self._client

    def started(self) -> bool:
        """True when a client is connected."""
        return self._client is not None and self._client.status == "running"

    def close(self) -> None:
        """Stop what runs and hang up."""
        with self._lock:
            for build in self._builds:
                build.stop()
            self._builds = []
            self._hang_up()
        self._mark.unlink(missing_ok=True)

    def reset(self) -> None:
        """Hang up; the next submission connects anew. Builds under way are lost."""
        with self._lock:
            self._hang_up()

    def _hang_up(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            with suppress(OSError, RuntimeError, TimeoutError):
                client.close(timeout=CLOSE_TIMEOUT_S)

    def _hear(self, event: tuple[float, dict[str, Any]]) -> None:
        """A progress message; messages of other servers on the same scheduler are not ours."""
        message = event[1]
        stage, done, total = message["at"]
        self._latest[str(message["token"])] = (str(stage), int(done), int(total))

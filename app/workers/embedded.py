"""The engine of a single machine: worker processes beside the server, nothing to set up."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from app.recipes.recipe import BuildPlan
from app.stores.remote.files import RemoteFiles
from app.workers.dask_client import QUIET, DaskRunner, quieten
from app.workers.engine import Build
from app.workers.memory import NANNY_SETTINGS
from app.workers.work import DEFAULT_LIMITS, Limits

DASK_SETTINGS = {
    "distributed.scheduler.allowed-failures": 1,
    "distributed.worker.profile.enabled": False,
    "distributed.worker.multiprocessing-method": "spawn",
    "distributed.comm.timeouts.connect": "10s",
    "distributed.diagnostics.nvml": False,
    "distributed.deploy.lost-worker-timeout": "120s",
    "distributed.scheduler.http.routes": [],
    "distributed.worker.http.routes": [],
    **NANNY_SETTINGS,
}
"""A build whose worker dies is run once more by Dask itself; then the job is retried. A busy
machine may need long to start a new process for a killed one: it is not given up before 120 s."""
RESTART_LIMIT_S = 180.0
"""Without any worker process for this long, builds are lost and the cluster is made anew. Dask has
given up the lost workers before, and :meth:`EmbeddedEngine._replace_lost` has asked for others."""


class EmbeddedEngine:
    """A Dask scheduler in this process on the loopback address, workers in spawned processes.

    Nothing is started before the first build. A killed worker process is replaced by its nanny,
    a worker that Dask has given up by another one.
    """

    def __init__(
        self,
        *,
        workers: int,
        data_dir: Path,
        remote: RemoteFiles | None = None,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        self._workers = workers
        self._data_dir = data_dir
        self._cluster: Any = None
        self._deserted_since: float | None = None
        self._runner = DaskRunner(
            connect=self._start,
            data_dir=data_dir,
            remote=remote,
            limits=limits,
            lost=self._deserted,
            cores=os.cpu_count() or 1,
        )

    def submit(self, job_id: str, plan: BuildPlan) -> Build:
        """Start a build; the first one starts the workers. Raises EngineBusyError."""
        if self._deserted():
            self._runner.reset()
            self._deserted_since = None
        return self._runner.submit(job_id, plan)

    def describe(self) -> str:
        """One line for a person."""
        state = "running" if self._runner.started() else "started on the first build"
        return f"{self._workers} worker processes on this machine ({state})"

    def worker_pids(self) -> tuple[int, ...]:
        """Process ids of the workers that live now; empty before the first build."""
        nannies = [] if self._cluster is None else list(self._cluster.workers.values())
        return tuple(nanny.pid for nanny in nannies if nanny.pid)

    def close(self) -> None:
        """Stop the workers; builds under way end with StoppedError."""
        self._runner.close()
        if self._cluster is not None:
            self._cluster.close(timeout=10)
            self._cluster = None

    def _deserted(self) -> bool:
        """True when no worker process lives and none came back within the limit."""
        self._replace_lost()
        if self._cluster is None or self.worker_pids():
            self._deserted_since = None
            return False
        now = time.monotonic()
        since = self._deserted_since = self._deserted_since or now
        return now - since > RESTART_LIMIT_S

    def _replace_lost(self) -> None:
        """Dask forgets a worker that is away when it looks, and does not replace it by itself."""
        if self._cluster is not None and len(self._cluster.workers) < self._workers:
            self._cluster.scale(self._workers)

    def _start(self) -> Any:
        import dask
        from distributed import Client, LocalCluster

        quieten()
        if self._cluster is not None:
            self._cluster.close(timeout=10)
        dask.config.set(DASK_SETTINGS)
        self._cluster = LocalCluster(
            n_workers=self._workers,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            scheduler_kwargs={"dashboard": False},
            silence_logs=QUIET,
            preload=["app.workers.remote"],
            local_directory=str(self._data_dir.absolute() / "work"),
        )
        return Client(self._cluster, set_as_default=False)

"""The engine of a Dask cluster somebody else runs: the same builds, by the scheduler's address."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from app.recipes.recipe import BuildPlan
from app.workers.dask_client import DaskRunner, quieten
from app.workers.engine import Build

CONNECT_TIMEOUT_S = 10.0


class ClusterEngine:
    """Workers that joined the scheduler at ``address``.

    They need this package, and the data folder and the images under the same paths as here.
    """

    def __init__(self, *, address: str, data_dir: Path) -> None:
        self._address = address
        self._runner = DaskRunner(connect=self._connect, data_dir=data_dir)

    def submit(self, job_id: str, plan: BuildPlan) -> Build:
        """Start a build. Raises EngineBusyError when the scheduler does not answer."""
        return self._runner.submit(job_id, plan)

    def describe(self) -> str:
        """One line for a person."""
        if not self._runner.started():
            return f"Dask scheduler {self._address} (not asked yet)"
        workers = len(self._runner.client().scheduler_info(n_workers=-1)["workers"])
        return f"Dask scheduler {self._address} with {workers} workers"

    def close(self) -> None:
        """Stop our builds and hang up; the cluster itself is not ours to stop."""
        self._runner.close()

    def _connect(self) -> Any:
        from distributed import Client

        quieten()
        return Client(self._address, timeout=CONNECT_TIMEOUT_S, set_as_default=False)

"""The engine of a Dask cluster somebody else runs: the same builds, by the scheduler's address."""

from __future__ import annotations

import asyncio
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

from app.errors import EngineBusyError
from app.recipes.recipe import BuildPlan
from app.stores.remote.files import RemoteFiles
from app.workers.dask_client import DaskRunner, quieten
from app.workers.engine import Build
from app.workers.memory import NANNY_SETTINGS
from app.workers.work import DEFAULT_LIMITS, Limits

CONNECT_TIMEOUT_S = 10.0
PRELOADED = "app.workers.remote"
"""What a worker process imports when it starts."""


class ClusterEngine:
    """Workers that joined the scheduler at ``address``.

    They need this package, and the data folder and the images under the same paths as here.
    """

    def __init__(
        self,
        *,
        address: str,
        data_dir: Path,
        remote: RemoteFiles | None = None,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        self._address = address
        self._runner = DaskRunner(
            connect=self._connect, data_dir=data_dir, remote=remote, limits=limits
        )

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


def run_worker(address: str, *, threads: int = 1) -> None:
    """Join the scheduler at ``address`` and work until it is told to stop (SIGTERM) or the
    scheduler goes.

    A nanny replaces the working process when it dies. Raises EngineBusyError when the scheduler
    does not answer.
    """
    import dask

    quieten()
    dask.config.set(NANNY_SETTINGS)
    with suppress(asyncio.CancelledError):
        asyncio.run(_serve(address, threads))


async def _serve(address: str, threads: int) -> None:
    from distributed import Nanny

    serving = asyncio.current_task()
    assert serving is not None
    # The first process of a container has no other way to hear of it.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, serving.cancel)
    try:
        async with Nanny(address, nthreads=threads, memory_limit=0, preload=[PRELOADED]) as nanny:
            await nanny.finished()
    except (OSError, RuntimeError, ValueError) as fault:
        raise EngineBusyError(f"no Dask scheduler answers at {address}") from fault

"""What an operator wants to see at one glance."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from app.operations.checks import Checks, Found
from app.operations.recent import LoggedFault, RecentFaults, SlowQueries, SlowQuery
from app.operations.state import ServerState
from app.stores.jobs import JobStore
from app.uws.job import Job, JobKind, Phase

KINDS: Final[tuple[JobKind, ...]] = ("tap", "template", "difference", "cutout")
SHOWN_JOBS: Final = 50
_UNDER_WAY: Final = (Phase.QUEUED, Phase.EXECUTING)
_WALK_S: Final = 2.0
_FRESH_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class FolderUse:
    """A folder of the data folder: files and bytes in it, at least so many if not ``is_all``."""

    name: str
    files: int
    size_bytes: int
    is_all: bool


@dataclass(frozen=True, slots=True)
class Storage:
    """The use of the data folder, and what is left on its disk."""

    folders: tuple[FolderUse, ...]
    left_bytes: int
    looked_at: datetime


@dataclass(frozen=True, slots=True)
class Overview:
    """Everything on the operator's page."""

    at: datetime
    up_since: datetime
    in_flight: int
    checks: dict[str, Found]
    counts: dict[JobKind, dict[str, int]]
    jobs: list[Job]
    storage: Storage
    slow_queries: list[SlowQuery]
    slow_s: float
    faults: list[LoggedFault]


class OverviewService:
    """Looks at everything. The data folder is walked through once a minute at most, and not for
    longer than two seconds for each of its folders."""

    def __init__(
        self,
        *,
        checks: Checks,
        jobs: JobStore,
        state: ServerState,
        slow_queries: SlowQueries,
        faults: RecentFaults,
        data_dir: Path,
        clock: Callable[[], datetime],
    ) -> None:
        self._checks = checks
        self._jobs = jobs
        self._state = state
        self._slow_queries = slow_queries
        self._faults = faults
        self._data_dir = data_dir
        self._clock = clock
        self._storage: tuple[float, Storage] | None = None

    async def checks(self) -> dict[str, Found]:
        """Whether the parts of the service work."""
        return await self._checks.look()

    def look(self, checks: dict[str, Found]) -> Overview:
        """The rest. Raises StoreUnavailableError when the database does not answer."""
        counts = self._jobs.counts()
        return Overview(
            at=self._clock(),
            up_since=self._state.up_since,
            in_flight=self._state.in_flight,
            checks=checks,
            counts={
                kind: {phase.value: counts.get((kind, phase.value), 0) for phase in Phase}
                for kind in KINDS
            },
            jobs=self._jobs.list_jobs(kinds=KINDS, phases=_UNDER_WAY, last=SHOWN_JOBS),
            storage=self._use_of_storage(),
            slow_queries=self._slow_queries.latest(),
            slow_s=self._slow_queries.slow_s,
            faults=self._faults.latest(),
        )

    def _use_of_storage(self) -> Storage:
        if self._storage is None or time.monotonic() - self._storage[0] > _FRESH_S:
            disk = os.statvfs(self._data_dir)
            found = Storage(
                tuple(_uses(self._data_dir)), disk.f_bavail * disk.f_frsize, self._clock()
            )
            self._storage = (time.monotonic(), found)
        return self._storage[1]


def _uses(data_dir: Path) -> Iterator[FolderUse]:
    """Each folder in the data folder, and the files that lie beside them."""
    beside = [entry.stat().st_size for entry in os.scandir(data_dir) if entry.is_file()]
    for entry in sorted(os.scandir(data_dir), key=lambda each: each.name):
        if entry.is_dir(follow_symlinks=False):
            yield _use(entry.name, Path(entry.path))
    yield FolderUse("(files)", len(beside), sum(beside), True)


def _use(name: str, folder: Path) -> FolderUse:
    until_s = time.monotonic() + _WALK_S
    files = size_bytes = 0
    for place, _, names in os.walk(folder):
        for each in names:
            with suppress(OSError):  # it went meanwhile
                size_bytes += os.lstat(f"{place}/{each}").st_size
                files += 1
        if time.monotonic() > until_s:
            return FolderUse(name, files, size_bytes, False)
    return FolderUse(name, files, size_bytes, True)

"""Whether this server can do its work now: each look is bounded in time, and of many who ask at
once one looks for all."""

from __future__ import annotations

import asyncio
import os
import socket
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import sqlalchemy as sa

from app.adql.compiled import Target
from app.errors import ServiceError, StoreUnavailableError, told
from app.stores.migrations import current_revision, head_revision
from app.stores.tables.base import TableStore

LOOK_S: Final = 3.0
"""A look that has not ended by then has failed, for who asked."""
FRESH_S: Final = 1.0
"""What was found is told again for so long."""
_CONNECT_S: Final = 1.0
_ENGINES: Final[Mapping[Target, str]] = {
    "sqlite": "SQLite",
    "postgres": "PostgreSQL",
}

Check = Callable[[], str]
"""One line on what is well. Raises ServiceError or OSError."""


@dataclass(frozen=True, slots=True)
class Found:
    """What one look found."""

    is_well: bool
    detail: str


class Checks:
    """Looks of one server, by name. ``advisory`` ones are told and do not count."""

    def __init__(self, checks: Mapping[str, Check], *, advisory: frozenset[str]) -> None:
        self._checks = checks
        self._advisory = advisory
        self._threads = ThreadPoolExecutor(len(checks), thread_name_prefix="check")
        self._under_way: dict[str, asyncio.Future[Found]] = {}
        self._found: dict[str, tuple[float, Found]] = {}

    async def look(self) -> dict[str, Found]:
        """All of them, side by side."""
        found = await asyncio.gather(*(self._one(name) for name in self._checks))
        return dict(zip(self._checks, found, strict=True))

    async def _one(self, name: str) -> Found:
        at_s, found = self._found.get(name, (0.0, None))
        if found is not None and time.monotonic() - at_s < FRESH_S:
            return found
        running = self._under_way.get(name)
        if running is None or running.done():
            loop = asyncio.get_running_loop()
            running = loop.run_in_executor(self._threads, self._run, name)
            self._under_way[name] = running
        done, _ = await asyncio.wait([running], timeout=LOOK_S)
        return running.result() if done else Found(False, f"no answer within {LOOK_S:g} s")

    def _run(self, name: str) -> Found:
        try:
            found = Found(True, self._checks[name]())
        except ServiceError as fault:
            found = Found(False, told(fault))
        except OSError as fault:
            found = Found(False, fault.strerror or type(fault).__name__)
        self._found[name] = (time.monotonic(), found)
        return found

    def is_ready(self, found: Mapping[str, Found]) -> bool:
        """Whether nothing that counts has failed."""
        return all(each.is_well or name in self._advisory for name, each in found.items())


class Migrated:
    """The tables are those of this version. Once they are they stay so."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._head = ""

    def __call__(self) -> str:
        """See :data:`Check`."""
        head = self._head or head_revision()
        if not self._head:
            revision = current_revision(self._engine)
            if revision != head:
                raise ServiceError(f"the tables are at {revision}; {head} is needed: skyloom init")
            self._head = head
        return f"tables at {head}"


def writable(folder: Path) -> Check:
    """A small file can be written there."""

    def check() -> str:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"skyloom")
            file.flush()
        left = os.statvfs(folder)
        return f"{left.f_bavail * left.f_frsize / 1e9:.1f} GB left"

    return check


def reachable(address: str | None, describe: Callable[[], str]) -> Check:
    """The scheduler of the cluster takes connections; without one builds run here."""

    def check() -> str:
        if address is None:
            return describe()
        parts = urlsplit(address)
        where = (parts.hostname or "", parts.port or 8786)
        try:
            socket.create_connection(where, _CONNECT_S).close()
        except OSError as fault:
            reason = fault.strerror or "no answer"
            raise ServiceError(f"the scheduler does not take connections: {reason}") from fault
        return describe()

    return check


def answers(tables: TableStore) -> Check:
    """The database answers; which one it is."""

    def check() -> str:
        tables.ping()
        return f"{_ENGINES[tables.target]} answers"

    return check


def at_work(is_alive: Callable[[], bool]) -> Check:
    """Jobs are claimed and their leases renewed."""

    def check() -> str:
        if not is_alive():
            raise StoreUnavailableError("jobs are not run")
        return "jobs are run"

    return check

"""The processes of a service on a cluster, each of which can be killed and started again. Those of
``skyloom`` may begin as forks of one that has imported everything (see tests.flows.starter): more
rounds in the same time, though recovery then takes less than where interpreters start."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tests.flows.starter import Started, starter
from tests.postgres import PostgresServer, find_postgres, private_server

PATIENCE_S = 240.0
"""Longer than anything takes on a busy machine: what is not back by then is lost."""

SETTINGS = {"SKYLOOM_LEASE_S": "5", "SKYLOOM_WORKERS": "1", "SKYLOOM_SYNC_TIME_LIMIT_S": "900"}


SKYLOOM = [sys.executable, "-m", "app.cli"]
DURABLE = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on"}
"""As PostgreSQL is set by itself: what it has confirmed survives a kill."""


class DrillError(Exception):
    """A promise was not kept."""


def wait_until(condition: Callable[[], bool], what: str, *, limit_s: float = PATIENCE_S) -> None:
    """Return when the condition holds; DrillError when it does not within the limit."""
    deadline_s = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > deadline_s:
            raise DrillError(f"after {limit_s:.0f} s: {what}")
        time.sleep(0.05)


@dataclass
class Running:
    """One program in a process group of its own."""

    command: list[str]
    environment: Mapping[str, str]
    log: Path
    forked: bool = False
    process: subprocess.Popen[bytes] | Started | None = None

    def start(self) -> None:
        """Start it; returns at once."""
        with self.log.open("ab") as log:
            if self.forked and self.command[: len(SKYLOOM)] == SKYLOOM:
                words = self.command[len(SKYLOOM) :]
                self.process = starter().start(words, self.environment, log, log)
                return
            self.process = subprocess.Popen(
                self.command, env=self.environment, stdout=log, stderr=log, start_new_session=True
            )

    def kill(self) -> None:
        """SIGKILL it with the processes it started."""
        if self.process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    def runs(self) -> bool:
        """Whether it was started and has not ended."""
        return self.process is not None and self.process.poll() is None


@dataclass
class Site:
    """A service with its scheduler, its worker and its database, over one data folder."""

    folder: Path
    ports: tuple[int, int]
    database_url: str
    postgres: PostgresServer | None
    forked: bool = False
    running: dict[str, Running] = field(default_factory=dict)
    started: Counter[str] = field(default_factory=Counter)
    """How often each was started again."""

    @property
    def data_dir(self) -> Path:
        """Its data folder."""
        return self.folder / "data"

    @property
    def url(self) -> str:
        """Address of the service."""
        return f"http://127.0.0.1:{self.ports[0]}"

    @property
    def environment(self) -> dict[str, str]:
        """Of everything that belongs to it."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith("SKYLOOM_")}
        return (
            kept
            | SETTINGS
            | {
                "SKYLOOM_DATA_DIR": str(self.data_dir),
                "SKYLOOM_DATABASE_URL": self.database_url,
                "SKYLOOM_DASK_SCHEDULER": f"tcp://127.0.0.1:{self.ports[1]}",
            }
        )

    def victims(self) -> tuple[str, ...]:
        """What may be killed."""
        own = ("server", "worker", "scheduler")
        return own if self.postgres is None else (*own, "postgres")

    def command(self, *arguments: str) -> subprocess.Popen[bytes] | Started:
        """Start one ``skyloom`` command."""
        log = self.folder / "commands.log"
        started = Running([*SKYLOOM, *arguments], self.environment, log, self.forked)
        started.start()
        assert started.process is not None
        return started.process

    def start(self, name: str) -> None:
        """Start one of the programs; returns at once."""
        if name == "postgres":
            self._start_postgres()
            return
        cluster = f"tcp://127.0.0.1:{self.ports[1]}"
        commands = {
            "server": [*SKYLOOM, "serve", "--port", str(self.ports[0])],
            "worker": [*SKYLOOM, "worker", cluster],
            "scheduler": [
                *(sys.executable, "-m", "distributed.cli.dask_scheduler", "--no-dashboard"),
                *("--host", "127.0.0.1", "--port", str(self.ports[1])),
            ],
        }
        log = self.folder / f"{name}.log"
        self.running[name] = Running(commands[name], self.environment, log, self.forked)
        self.running[name].start()

    def kill(self, name: str) -> None:
        """SIGKILL one of the programs."""
        if name != "postgres":
            self.running[name].kill()
            return
        assert self.postgres is not None and self.postgres.data is not None
        number = (self.postgres.data / "postmaster.pid").read_text().split()[0]
        os.kill(int(number), signal.SIGKILL)

    def revive(self) -> None:
        """Start again what does not run: what was killed, and what ended for want of it."""
        for name in ("scheduler", "worker", "server"):
            if not self.running[name].runs():
                self.started[name] += 1
                self.start(name)

    def answers(self) -> bool:
        """Whether the service says that it is available."""
        with suppress(httpx.HTTPError):
            return "true</" in httpx.get(f"{self.url}/tap/availability", timeout=10).text
        return False

    def _start_postgres(self) -> None:
        """Orphaned backends hold the shared memory for a moment."""
        assert self.postgres is not None and self.postgres.start is not None
        deadline_s = time.monotonic() + PATIENCE_S
        while True:
            try:
                self.postgres.start()
            except RuntimeError:
                if time.monotonic() > deadline_s:
                    raise
                time.sleep(0.2)
            else:
                return


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def open_site(
    folder: Path, *, postgres: bool, forked: bool = False, ports: tuple[int, int] | None = None
) -> Iterator[Site]:
    """A site that runs, its database empty; all is killed at the end."""
    with ExitStack() as stack:
        server, url = None, f"sqlite:///{folder / 'data' / 'skyloom.sqlite3'}"
        if postgres:
            programs = find_postgres()
            if isinstance(programs, str):
                raise DrillError(programs)
            server = stack.enter_context(private_server(programs, settings=DURABLE))
            url = server.create()
        (folder / "data").mkdir(parents=True)
        site = Site(folder, ports or (_free_port(), _free_port()), url, server, forked)
        try:
            if site.command("init").wait() != 0:
                raise DrillError((folder / "commands.log").read_text())
            for name in ("scheduler", "worker", "server"):
                site.start(name)
            wait_until(site.answers, "the service does not start")
            yield site
        finally:
            for each in site.running.values():
                each.kill()

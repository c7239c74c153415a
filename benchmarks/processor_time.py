"""Processor time of a client and its PostgreSQL server: with other work beside them, the time on
the wall tells of that."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tests.postgres import PostgresServer

_TICKS = os.sysconf("SC_CLK_TCK")


class ProcessorTime:
    """Reads what this process, the commands it ran and a private server's sessions have used so
    far (Linux). What the server does in the background is not counted."""

    def __init__(self, server: PostgresServer) -> None:
        assert server.data is not None
        pid = (server.data / "postmaster.pid").read_text().split()[0]
        self._postmaster = Path("/proc") / pid

    def seconds(self) -> float:
        """Since the beginning."""
        times = os.times()
        client = time.process_time() + times.children_user + times.children_system
        fields = (self._postmaster / "stat").read_text().rpartition(")")[2].split()
        ended = (int(fields[13]) + int(fields[14])) / _TICKS
        return client + ended + sum(map(_session, self._children()))

    def _children(self) -> list[str]:
        name = self._postmaster.name
        return (self._postmaster / "task" / name / "children").read_text().split()

    def of(self, task: Callable[[], object]) -> float:
        """Seconds that a task takes."""
        start = self.seconds()
        task()
        return self.seconds() - start

    def medians(self, runs: int, *tasks: Callable[[], object]) -> list[float]:
        """Median seconds of each task over rounds in which every task runs once."""
        rounds = [[self.of(task) for task in tasks] for _ in range(runs)]
        return [statistics.median(each) for each in zip(*rounds, strict=True)]


def _session(pid: str) -> float:
    """Seconds of a process of the server that serves a client; 0 of others."""
    with suppress(OSError):
        if b"[local]" in Path(f"/proc/{pid}/cmdline").read_bytes():
            return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9
    return 0.0

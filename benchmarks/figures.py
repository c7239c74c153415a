"""How figures are taken and shown: interleaved runs, medians, the peer beside us, the ratio."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One measured number and the same thing done by a peer in the same run.

    ``larger_is_better`` tells how to read the ratio; a peer that is not installed is None.
    """

    name: str
    ours: float
    unit: str
    peer_name: str = ""
    peer: float | None = None
    larger_is_better: bool = False

    def line(self) -> str:
        """One row of the printed table; the ratio is above 1 where we are ahead."""
        text = f"{self.name:<52} {self.ours:>10.4g} {self.unit:<9}"
        if self.peer is None:
            return text + (f" [{self.peer_name}: not on this machine]" if self.peer_name else "")
        ratio = self.ours / self.peer if self.larger_is_better else self.peer / self.ours
        return text + f" {self.peer_name}: {self.peer:.4g} {self.unit}, ratio {ratio:.2f}"


def interleaved(runs: int, **tasks: Callable[[], object]) -> dict[str, float]:
    """Median seconds of each task over ``runs`` rounds in which every task runs once."""
    times: dict[str, list[float]] = {name: [] for name in tasks}
    for _ in range(runs):
        for name, task in tasks.items():
            start = time.perf_counter()
            task()
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def machine() -> str:
    """One line on when and where."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{date.today().isoformat()}, {os.cpu_count()} cores, {memory:.0f} GiB, "
        f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
    )


def workspace() -> Path:
    """Where benchmark data lie between runs (``bench-out`` unless BENCH_DIR says otherwise)."""
    folder = Path(os.environ.get("BENCH_DIR", "bench-out")).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    return folder

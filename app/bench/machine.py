"""Facts about a machine that decide how fast Skyloom is there."""

from __future__ import annotations

import os
import platform
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Final

import numpy as np

_WRITTEN: Final = 64 * 2**20
_SYNCED: Final = 20
_SIDE: Final = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What it is."""

    processor: str
    cores: int
    memory_bytes: int
    system: str
    python: str


def describe_machine() -> Machine:
    """Of this process: ``cores`` are those that it may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    pages = os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 0
    return Machine(
        processor=_processor(),
        cores=cores or 1,
        memory_bytes=pages * os.sysconf("SC_PAGE_SIZE") if pages else 0,
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=platform.python_version(),
    )


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    found = re.search(r"^model name\s*: (.+)$", info.read_text(), re.M) if info.exists() else None
    return found[1] if found else platform.processor() or "unknown"


def core_speed() -> float:
    """Seconds of a Fourier transform of 1024 × 1024 pixels on one core, the least of five."""
    pixels = np.random.default_rng(1).normal(size=(_SIDE, _SIDE))
    return min(_seconds(lambda: np.fft.fft2(pixels)) for _ in range(5))


def write_rate(folder: Path) -> float:
    """Bytes per second that are written to the disk of a folder and are on it then."""
    block = os.urandom(2**20)
    with TemporaryFile(dir=folder) as file:

        def write() -> None:
            for _ in range(_WRITTEN // len(block)):
                file.write(block)
            file.flush()
            os.fsync(file.fileno())

        return _WRITTEN / _seconds(write)


def sync_time(folder: Path) -> float:
    """Seconds until a few bytes are on the disk of a folder, the median: of every transaction."""
    times = []
    with TemporaryFile(dir=folder, buffering=0) as file:
        for _ in range(_SYNCED):
            file.write(b"a few bytes")
            times.append(_seconds(lambda: os.fsync(file.fileno())))
    return sorted(times)[_SYNCED // 2]


def _seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun

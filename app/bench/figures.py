"""What a bench measures, how it is on the machine of reference, and what to do where it is slow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

SLOW: Final = 2.0
"""So many times slower than the machine of reference is told as slow."""
Unit = Literal["s", "MB/s"]


@dataclass(frozen=True, slots=True)
class Figure:
    """One result; ``value`` None: why there is none stands in ``note``."""

    name: str
    value: float | None
    unit: Unit = "s"
    note: str = ""

    @property
    def rate(self) -> float | None:
        """How often in a second, one after the other."""
        return 1.0 / self.value if self.value and self.unit == "s" else None


@dataclass(frozen=True, slots=True)
class Topic:
    """What a figure is of: words, the value of the machine of reference, and advice."""

    title: str
    reference: float | None
    advice: str


REFERENCE_MACHINE: Final = (
    "2 shared cores of an Intel Xeon at 2.5 GHz, virtual disk, Python 3.11, November 2026"
)
_BIG: Final = (
    "PostgreSQL (SKYLOOM_DATABASE_URL) suits many images and many users better than SQLite"
)
_FILES: Final = (
    "images are read from their own disk: a local one, or SKYLOOM_REMOTE_CACHE_BYTES and "
    "SKYLOOM_REMOTE_GAP_BYTES for those elsewhere"
)
_BUILDS: Final = (
    "SKYLOOM_WORKERS up to the number of cores, SKYLOOM_STACK_MEMORY_BYTES up to what memory "
    "allows, a cluster (SKYLOOM_DASK_SCHEDULER) beyond; run skyloom warm-up once after an "
    "installation"
)
TOPICS: Final[Mapping[str, Topic]] = {
    "core": Topic("one core: FFT of 1024 × 1024", 0.043, "faster cores: everything waits for them"),
    "disk": Topic("disk of the data folder: writing", 1000.0, "SKYLOOM_DATA_DIR on a faster disk"),
    "sync": Topic(
        "disk: until a transaction is kept", 0.002, "SKYLOOM_DATA_DIR on a disk with a fast fsync"
    ),
    "ingest": Topic(
        "ingest of an image", 0.18, "skyloom ingest --workers N reads with N processes"
    ),
    "query": Topic("TAP: 10 rows", 0.0044, _BIG),
    "cone": Topic("TAP: images at a position", 0.003, _BIG),
    "rows": Topic("TAP: up to 10 000 rows, all columns", None, _BIG),
    "sia": Topic("SIA: images at a position", 0.0035, _BIG),
    "links": Topic("DataLink of an image", 0.0075, _BIG),
    "cutout": Topic("cutout of 100 × 100 pixels", 0.004, _FILES),
    "preview": Topic("preview that is not cached", 0.07, _FILES),
    "template": Topic("template of 4 exposures, 0.8′", 0.04, _BUILDS),
    "difference": Topic("difference of 1000 × 1000 pixels", 2.0, _BUILDS),
}


def slowness(figure: Figure) -> float | None:
    """How many times slower than on the machine of reference; None where nobody can tell."""
    reference = TOPICS[figure.name].reference
    if figure.value is None or reference is None or figure.value <= 0.0:
        return None
    return figure.value / reference if figure.unit == "s" else reference / figure.value


def advice(figures: Iterable[Figure]) -> list[str]:
    """What is slow, the worst first, and what to turn; slow cores are told of once, and other
    figures where they are slower still."""
    worst: dict[str, float] = {}
    for each in figures:
        worst[each.name] = max(slowness(each) or 0.0, worst.get(each.name, 0.0))
    cores = max(1.0, worst.get("core", 1.0))
    slow = [
        (times, name)
        for name, times in worst.items()
        if times > (SLOW if name == "core" else SLOW * cores)
    ]
    return [
        f"{TOPICS[name].title}: {times:.1f} times slower than the reference; {TOPICS[name].advice}"
        for times, name in sorted(slow, reverse=True)
    ]

"""What came of a load, by kind of visit."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import httpx

GROWTH: Final = 1.25
"""Memory that is flat grows by less than this from the first quarter to the last."""


@dataclass
class Report:
    """Times and statuses, counted; ``faults`` holds an example of everything that must not be."""

    seconds: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    statuses: Counter[tuple[str, int]] = field(default_factory=Counter)
    faults: dict[str, str] = field(default_factory=dict)
    rss_mib: list[float] = field(default_factory=list)

    def note(self, kind: str, answer: httpx.Response, seconds: float) -> None:
        """One visit that ended with an answer. A refusal for the moment has no time."""
        status = answer.status_code
        self.statuses[kind, status] += 1
        if status < httpx.codes.BAD_REQUEST:
            self.seconds[kind].append(seconds)
        elif status != httpx.codes.SERVICE_UNAVAILABLE or "retry-after" not in answer.headers:
            self.faults.setdefault(f"{kind}: status {status}", str(answer.request.url)[:300])

    def fail(self, kind: str, error: Exception) -> None:
        """One visit that ended without one."""
        self.faults.setdefault(f"{kind}: {type(error).__name__}", str(error)[:300])
        self.statuses[kind, 0] += 1

    def median_s(self, kind: str) -> float:
        """Of the visits that were answered."""
        return statistics.median(self.seconds[kind])

    def lines(self) -> Iterator[str]:
        """The report for people."""
        yield f"{'kind':<12}{'answered':>9}{'p50 ms':>9}{'p99 ms':>9}{'503':>7}"
        for kind, told in sorted(self.seconds.items()):
            ordered = sorted(told)
            late = ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))]
            refused = self.statuses[kind, httpx.codes.SERVICE_UNAVAILABLE]
            middle = statistics.median(ordered)
            yield f"{kind:<12}{len(told):>9}{1000 * middle:>9.0f}{1000 * late:>9.0f}{refused:>7}"
        if len(self.rss_mib) >= 4:
            quarter = len(self.rss_mib) // 4
            early, late = (
                statistics.median(part)
                for part in (self.rss_mib[quarter : 2 * quarter], self.rss_mib[-quarter:])
            )
            yield (
                f"memory (RSS): {self.rss_mib[0]:.0f} MiB at first, {early:.0f} in the second "
                f"quarter, {late:.0f} in the last, {max(self.rss_mib):.0f} at most"
            )
            if late > GROWTH * early:
                self.faults["memory"] = f"grows from {early:.0f} to {late:.0f} MiB"
        yield from (f"FAULT {what}: {example}" for what, example in self.faults.items())

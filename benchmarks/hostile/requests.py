"""Malformed requests to every route of a running service, and what must not come of them."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from benchmarks.fuzz_http import QUERY, Answer, RawRequest, answer_of, requests
from tests.flows.service import Service
from tests.waiting import web

LONGEST_S: Final = 60.0
LEAKS: Final = (b"Traceback (most recent", b"site-packages", b'File "/', b"psycopg.", b"sqlite3.")
"""Words of Python and of drivers that no answer holds."""
RENEWED: Final = 100
"""After so many requests of a client its jobs are new ones: what it sends aborts and destroys."""
DEATHS: Final = ("unexpected error", "Traceback")


@dataclass
class Report:
    """What happened, counted; ``faults`` holds an example of everything that must not."""

    statuses: Counter[int | None] = field(default_factory=Counter)
    faults: dict[str, str] = field(default_factory=dict)
    slowest: tuple[float, str] = (0.0, "")
    seconds: float = 0.0
    rss_mib: list[float] = field(default_factory=list)

    def look_at(self, request: RawRequest, answer: Answer, secrets: tuple[bytes, ...]) -> None:
        """Judge one answer."""
        shown = repr(request.to_bytes()[:300])
        self.statuses[answer.status] += 1
        if answer.seconds > self.slowest[0]:
            self.slowest = (answer.seconds, shown)
        if answer.seconds > LONGEST_S:
            self.faults.setdefault("slow", shown)
        status = answer.status or 0
        if status >= 500 and not (status in (503, 504) or b"not built" in answer.content):
            self.faults.setdefault(f"status {status}", shown)
        if status == 503 and b"retry-after" not in answer.content.lower():
            self.faults.setdefault("503 without Retry-After", shown)
        for word in (*LEAKS, *secrets):
            if word in answer.content and word not in request.to_bytes():
                self.faults.setdefault(f"tells {word!r}", shown)

    def lines(self) -> Iterator[str]:
        """The report for people."""
        total = sum(self.statuses.values())
        yield f"{total} requests in {self.seconds:.0f} s ({total / self.seconds:.0f}/s)"
        told = sorted(self.statuses.items(), key=lambda pair: -pair[1])
        yield "statuses: " + ", ".join(f"{status}: {count}" for status, count in told)
        yield f"slowest: {self.slowest[0]:.1f} s: {self.slowest[1][:200]}"
        first, last = self.rss_mib[0], self.rss_mib[-1]
        yield f"memory (RSS): {first:.0f} MiB at first, {max(self.rss_mib):.0f} at most, {last:.0f}"
        yield from (f"FAULT {what}: {example}" for what, example in self.faults.items())


def rss_mib(pid: int) -> float:
    """Resident memory of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


def known_of(service: Service) -> dict[str, str]:
    """What stands for names in paths and values: an image, a place, a signed link, and jobs."""
    known = {"kind": "tap"}
    query = (
        "SELECT TOP 2 obs_publisher_did, s_ra, s_dec FROM ivoa.ObsCore "
        "WHERE calib_level = 2 AND s_region IS NOT NULL ORDER BY obs_publisher_did"
    )
    asked = {"LANG": "ADQL", "FORMAT": "json", "QUERY": query}
    rows = web.get(f"{service.url}/tap/sync", params=asked).json()["data"]
    if rows:
        name, ra, dec = rows[0]
        links = web.get(f"{service.url}/datalink/links", params={"ID": name}).text
        token = links.split("/files/")[1].split("/")[0] if "/files/" in links else "x"
        place = {"image": name, "neighbour": rows[-1][0], "place": f"{ra} {dec}"}
        known |= {**place, "circle": f"{ra} {dec} 0.002", "token": token, "name": "x.fits"}
    return known | jobs_of(service, known.get("image", "x"))


_LISTS: Final = {
    "tap": "/tap/async",
    "cutout": "/soda/async",
    "template": "/builds/template/async",
    "difference": "/builds/difference/async",
}


def jobs_of(service: Service, image: str, kinds: Collection[str] = tuple(_LISTS)) -> dict[str, str]:
    """A fresh job of each kind, by its kind, as far as the service takes more of them."""
    jobs = {}
    for kind in kinds:
        path = _LISTS[kind]
        asked = {"LANG": "ADQL", "QUERY": QUERY} if kind == "tap" else {"ID": image}
        made = web.post(f"{service.url}{path}", data=asked)
        if made.status_code == 303:
            jobs[kind] = str(made.headers["location"]).rsplit("/", 1)[1]
    return jobs


def remove_jobs(service: Service, known: Mapping[str, str]) -> None:
    """Destroy what :func:`jobs_of` made: a client may have so many jobs and no more."""
    for kind in known.keys() & _LISTS:
        web.delete(f"{service.url}{_LISTS[kind]}/{known[kind]}")


def secrets_of(service: Service) -> tuple[bytes, ...]:
    """What no answer may hold: where the data lie, and the keys of links."""
    keys = [
        path.read_bytes().strip()
        for path in service.data_dir.glob("*.key")
        if path.is_file() and path.stat().st_size >= 16
    ]
    return (str(service.data_dir).encode(), *keys)


def run(
    service: Service, *, count: int, clients: int, seed: int, known: Mapping[str, str]
) -> Report:
    """Send ``count`` requests from ``clients`` at once."""
    report, secrets, lock = Report(), secrets_of(service), threading.Lock()
    assert service.process is not None
    pid = service.process.pid
    report.rss_mib.append(rss_mib(pid))

    def client(number: int) -> None:
        share, mine = len(range(number, count, clients)), dict(known)
        for sent, request in enumerate(requests(seed + number, share, mine)):
            if sent % RENEWED == 0:
                remove_jobs(service, mine)
                mine |= jobs_of(service, mine.get("image", "x"))
            answer = answer_of(service.port, request)
            with lock:
                report.look_at(request, answer, secrets)
                if number == 0 and sent % 100 == 0:
                    report.rss_mib.append(rss_mib(pid))
                    report.seconds = time.monotonic() - start_s
                    print("\n".join(report.lines()), flush=True)

    start_s = time.monotonic()
    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    report.seconds = time.monotonic() - start_s
    report.rss_mib.append(rss_mib(pid))
    log = service.log()
    for word in DEATHS:
        if word in log:
            at = log.index(word)
            report.faults[f"log: {word}"] = log[max(0, at - 300) : at + 3000]
    return report

"""``python -m benchmarks.load [--minutes 10] [--clients 200] [--data-dir DIR]``: many clients of a
service over the simulated survey, then a greedy one beside one that is not.

Clients query, cut out, follow links, look at pictures, run jobs, hang up in the middle of answers
and read slowly; between visits each waits a moment. Every answer must be right or 503 with
Retry-After, and memory flat. Then one account asks short queries, first alone, then while another
asks as many heavy ones at once as it can: the median of the first may double. Exits with 1 when
anything was otherwise.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

import httpx

from benchmarks.figures import machine
from benchmarks.hostile.__main__ import survey
from benchmarks.hostile.requests import DEATHS, rss_mib
from benchmarks.load.clients import MIX, Action, Image, Visit, heavy, query
from benchmarks.load.report import Report
from tests.flows.service import Service

LONGEST_S: Final = 180.0
GREEDY: Final = 24
"""Heavy queries that one account asks at once."""
TURN_S: Final = 45.0
MOST_SLOWER: Final = 2.0
IMAGES: Final = (
    "SELECT obs_publisher_did, s_ra, s_dec FROM ivoa.ObsCore "
    "WHERE calib_level = 2 AND s_region IS NOT NULL AND build_state IS NULL"
)


def images_of(service: Service) -> tuple[Image, ...]:
    """What can be cut out of."""
    asked = {"LANG": "ADQL", "FORMAT": "json", "QUERY": IMAGES}
    answer = httpx.get(f"{service.url}/tap/sync", params=asked, timeout=LONGEST_S)
    answer.raise_for_status()
    return tuple(Image(*row) for row in answer.json()["data"])


async def visit_once(visit: Visit, action: Action, report: Report) -> None:
    """Do one thing and note what came of it; wait as long as the service asks for."""
    start_s = time.monotonic()
    try:
        answer = await action(visit)
    except httpx.HTTPError as error:
        report.fail(action.__name__, error)
        return
    report.note(action.__name__, answer, time.monotonic() - start_s)
    with suppress(ValueError):
        await asyncio.sleep(min(5.0, float(answer.headers.get("retry-after", "0"))))


async def stay(visit: Visit, report: Report, deadline_s: float, think_s: float) -> None:
    """One client, until the end."""
    weights, actions = zip(*MIX, strict=True)
    await asyncio.sleep(visit.chance.uniform(0, 2 * think_s))
    while time.monotonic() < deadline_s:
        (action,) = visit.chance.choices(actions, weights)
        await visit_once(visit, action, report)
        await asyncio.sleep(visit.chance.uniform(0, 2 * think_s))


async def watch(pid: int, report: Report, deadline_s: float) -> None:
    """Note the memory of the server."""
    while time.monotonic() < deadline_s:
        report.rss_mib.append(rss_mib(pid))
        await asyncio.sleep(2.0)


async def crowd(service: Service, *, clients: int, minutes: float, think_s: float) -> Report:
    """All clients at once."""
    report, images = Report(), images_of(service)
    deadline_s = time.monotonic() + 60 * minutes
    assert service.process is not None
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=service.url, timeout=LONGEST_S, limits=limits) as web:
        visits = [Visit(web, images, random.Random(number)) for number in range(clients)]
        await asyncio.gather(
            watch(service.process.pid, report, deadline_s),
            *(stay(visit, report, deadline_s, think_s) for visit in visits),
        )
    return report


async def repeat(visit: Visit, action: Action, report: Report, deadline_s: float) -> None:
    """The same again and again."""
    while time.monotonic() < deadline_s:
        await visit_once(visit, action, report)


async def beside(service: Service, modest: str, greedy: str) -> tuple[Report, Report]:
    """Short queries of one account alone, and beside the heavy ones of another."""
    images = images_of(service)

    def client(token: str) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            base_url=service.url,
            timeout=LONGEST_S,
            headers={"Authorization": f"Bearer {token}"},
            limits=httpx.Limits(max_connections=None),
        )

    reports = Report(), Report()
    async with client(modest) as small, client(greedy) as large:
        for report, many in zip(reports, (0, GREEDY), strict=True):
            deadline_s = time.monotonic() + TURN_S
            await asyncio.gather(
                repeat(Visit(small, images, random.Random(0)), query, report, deadline_s),
                *(
                    repeat(Visit(large, images, random.Random(each)), heavy, Report(), deadline_s)
                    for each in range(1, many + 1)
                ),
            )
    return reports


def token_of(service: Service, name: str) -> str:
    """A new token, of a name that the folder does not know from an earlier run."""
    made = service.run("token", "create", f"{name}-{time.time_ns()}")
    return made.stdout.split()[-1]


def main() -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--think", type=float, default=2.0, help="seconds between visits, mean")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--postgres", action="store_true")
    asked = parser.parse_args()
    print(machine())
    with survey(asked.data_dir, postgres=asked.postgres, port=None) as service:
        before = len(service.log())
        report = asyncio.run(
            crowd(service, clients=asked.clients, minutes=asked.minutes, think_s=asked.think)
        )
        log = service.log()[before:]
        for word in DEATHS:
            if word in log:
                report.faults[f"log: {word}"] = log[log.index(word) :][:2000]
        for line in report.lines():
            print("  " + line, flush=True)
        tokens = token_of(service, "modest"), token_of(service, "greedy")
        alone, crowded = asyncio.run(beside(service, *tokens))
    ratio = crowded.median_s("query") / alone.median_s("query")
    print(
        f"  beside a greedy account: median of a query {1000 * alone.median_s('query'):.0f} ms "
        f"-> {1000 * crowded.median_s('query'):.0f} ms, {ratio:.2f} x (asked {MOST_SLOWER:g})"
    )
    return int(bool(report.faults) or ratio > MOST_SLOWER)


if __name__ == "__main__":
    sys.exit(main())

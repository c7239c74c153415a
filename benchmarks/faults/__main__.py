"""kill -9 at random moments under load; then nothing may be lost, stuck, double or half written.

usage: python -m benchmarks.faults [--rounds 200] [--seed 1] [--postgres] [--only NAME] [--forked]

A service with a Dask scheduler, a worker and SQLite (or PostgreSQL) is asked for builds, queried
and given new images. In each round one of its processes is killed at a random moment and started
again. When all that was accepted has ended, jobs, rows and files are counted.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from benchmarks.faults.invariants import Inspector
from benchmarks.faults.load import Load
from benchmarks.faults.site import PATIENCE_S, DrillError, Site, open_site, wait_until
from benchmarks.faults.sky import COLLECTION, write_field

IMAGES = 5
LATEST_KILL_S = 4.0
FIRST_BUILD_S = 900.0


@dataclass
class Drill:
    """The rounds of one site, and what they gave."""

    site: Site
    load: Load
    inspector: Inspector
    chance: random.Random
    killed: Counter[str] = field(default_factory=Counter)
    recovery_s: list[tuple[float, str]] = field(default_factory=list)
    products: int = 0

    def prepare(self) -> list[str]:
        """Publish the first images; their identifiers. One build makes the worker ready."""
        write_field(self.site.folder / "images" / "first")
        folder = str(self.site.folder / "images" / "first")
        if self.site.command("ingest", folder, "--collection", COLLECTION).wait() != 0:
            raise DrillError((self.site.folder / "commands.log").read_text())
        query = f"SELECT obs_publisher_did FROM ivoa.ObsCore WHERE obs_collection='{COLLECTION}'"
        answer = httpx.get(
            f"{self.site.url}/tap/sync",
            params={"LANG": "ADQL", "QUERY": query, "FORMAT": "csv"},
            timeout=PATIENCE_S,
        )
        images = sorted(answer.text.split()[1:])
        if len(images) != IMAGES:
            raise DrillError(f"{len(images)} images: {answer.text}")
        for kind in ("template", "difference"):  # what builds need is compiled before the faults
            address = f"{self.site.url}/builds/{kind}/sync"
            first = httpx.get(address, params={"ID": images[0]}, timeout=FIRST_BUILD_S)
            if first.status_code >= 400:
                raise DrillError(first.text)
        return images

    def run_round(self, images: list[str], victim: str, after_s: float) -> None:
        """Work, kill, start again, wait until all that was accepted has ended, count."""
        faults: list[BaseException] = []
        hook, threading.excepthook = (
            threading.excepthook,
            lambda told: faults.append(told.exc_value or DrillError("a user's thread failed")),
        )
        try:
            users = self.load.begin(images)
            time.sleep(after_s)
            self.site.kill(victim)
            killed_s = time.monotonic()
            if victim == "postgres":
                self.site.start(victim)
            self.site.revive()
            wait_until(self.site.answers, "the service does not answer again")
            for user in users:
                user.join()
        finally:
            threading.excepthook = hook
        if faults:
            raise faults[0]
        self.load.settle(limit_s=PATIENCE_S)
        self.recovery_s.append((time.monotonic() - killed_s, victim))
        self.killed[victim] += 1
        self.products = self.inspector.check(ingested=IMAGES + self.load.published)

    def summary(self) -> str:
        """The figures."""
        longest_s, victim = max(self.recovery_s, default=(0.0, ""))
        times = sorted(each for each, _ in self.recovery_s)
        middle_s = times[len(times) // 2] if times else 0.0
        lines = [
            f"rounds                      {sum(self.killed.values())}",
            f"killed                      {dict(self.killed)}",
            f"started again               {dict(self.site.started)}",
            f"jobs by their end           {dict(self.load.phases)}",
            "jobs lost or stuck          0",
            f"products                    {self.products}, 0 double, 0 half written",
            "orphan rows                 0",
            f"images                      {IMAGES + self.load.published}, each once",
            f"temporary files left over   {self.inspector.leftovers} (the doctor removes them)",
            f"recovery, median and worst  {middle_s:.1f} s, {longest_s:.1f} s ({victim})",
            *(f"  {name}: {count}" for name, count in sorted(self.load.answers.items())),
        ]
        return "\n".join(lines)


def run(
    folder: Path,
    *,
    rounds: int,
    seed: int,
    postgres: bool,
    only: str | None,
    forked: bool = False,
    quiet: bool = False,
) -> Drill:
    """The drill. Raises DrillError for the first promise that is not kept."""
    chance = random.Random(seed)
    with open_site(folder, postgres=postgres, forked=forked) as site:
        drill = Drill(site, Load(site, chance), Inspector(site), chance)
        try:
            images = drill.prepare()
            for number in range(1, rounds + 1):
                victim = only or chance.choice(site.victims())
                after_s = chance.uniform(0.0, LATEST_KILL_S)
                begun_s = time.monotonic()
                drill.run_round(images, victim, after_s)
                if not quiet:
                    took_s = time.monotonic() - begun_s
                    told = f"{number:4d} {victim:<9} after {after_s:.2f} s, round of {took_s:.1f} s"
                    print(told, f"recovery {drill.recovery_s[-1][0]:.1f} s", flush=True)
        finally:
            if not quiet:
                print(drill.summary() if sys.exc_info()[0] is None else "FAILED", flush=True)
    return drill


def main() -> None:
    """Drill and print; see the top of the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--postgres", action="store_true")
    parser.add_argument("--only", choices=("server", "worker", "scheduler", "postgres"))
    parser.add_argument("--forked", action="store_true", help="Interpreters are not started anew.")
    parser.add_argument("--folder", type=Path, help="Keep everything here.")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="skyloom-faults-") as folder:
        try:
            run(
                given.folder or Path(folder) / "site",
                rounds=given.rounds,
                seed=given.seed,
                postgres=given.postgres,
                only=given.only,
                forked=given.forked,
            )
        except DrillError:
            traceback.print_exc()
            sys.exit(1)


if __name__ == "__main__":
    main()

"""What users do meanwhile: builds, queries and ingest. What the service accepted is remembered."""

from __future__ import annotations

import random
import signal
import subprocess
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from benchmarks.faults.site import PATIENCE_S, DrillError, Site, wait_until
from benchmarks.faults.sky import COLLECTION, write_newcomers
from tests.flows.starter import Started

ENDED = {"COMPLETED", "ERROR", "ABORTED"}
QUERY = "SELECT obs_collection, COUNT(*) AS n FROM ivoa.ObsCore GROUP BY obs_collection"
NEWCOMERS = 2


@dataclass
class Load:
    """The users of one site. ``accepted`` holds the addresses of jobs that the service has
    acknowledged as started, ``published`` counts the files that were ingested."""

    site: Site
    chance: random.Random
    accepted: list[str] = field(default_factory=list)
    phases: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)
    published: int = 0
    borders: int = 0
    _round: int = 0

    def begin(self, images: list[str]) -> list[threading.Thread]:
        """Let everybody work; the threads end by themselves soon after the service is back."""
        self._round += 1
        self.borders += 2
        asked = [
            ("template", {"ID": self.chance.choice(images), "BORDER": str(self.borders)}),
            ("difference", {"ID": self.chance.choice(images), "BORDER": str(self.borders + 1)}),
        ]
        asked.append(self.chance.choice(asked))  # one is asked for twice
        works = [threading.Thread(target=self._build, args=each) for each in asked]
        works += [threading.Thread(target=self._query), threading.Thread(target=self._ask)]
        works.append(threading.Thread(target=self._ingest, args=(self._round,)))
        for work in works:
            work.start()
        return works

    def _build(self, kind: str, parameters: dict[str, str]) -> None:
        self._submit(f"{self.site.url}/builds/{kind}/async", parameters)

    def _ask(self) -> None:
        self._submit(f"{self.site.url}/tap/async", {"LANG": "ADQL", "QUERY": QUERY})

    def _submit(self, address: str, parameters: dict[str, str]) -> None:
        """Until the service has taken it, as a patient client does."""
        deadline_s = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline_s:
            with suppress(httpx.TransportError):
                answer = httpx.post(address, data=parameters | {"PHASE": "RUN"}, timeout=30)
                self.answers[f"submit {answer.status_code}"] += 1
                if answer.status_code == 303:
                    self.accepted.append(answer.headers["location"])
                    return
                if answer.status_code != 503:
                    raise DrillError(f"{address}: {answer.status_code} {answer.text}")
            time.sleep(0.2)
        raise DrillError(f"{address} takes no job")

    def _query(self) -> None:
        """Synchronous queries, for a while; each is answered, refused in order, or cut off."""
        deadline_s = time.monotonic() + 3.0
        while time.monotonic() < deadline_s:
            try:
                answer = httpx.get(
                    f"{self.site.url}/tap/sync", params={"LANG": "ADQL", "QUERY": QUERY}, timeout=30
                )
                self.answers[f"query {answer.status_code}"] += 1
            except httpx.TransportError:
                self.answers["query cut off"] += 1
            time.sleep(0.1)

    def _ingest(self, number: int) -> None:
        """New exposures; the command is given again until it succeeds, and killed itself once in a
        while."""
        folder = self.site.folder / "images" / f"round{number}"
        write_newcomers(folder, first_visit=1000 + NEWCOMERS * number, count=NEWCOMERS)
        if self.chance.random() < 0.3:
            self._kill_later(self._command(folder))
        wait_until(lambda: self._command(folder).wait() == 0, "ingest does not succeed")
        self.published += NEWCOMERS

    def _command(self, folder: Path) -> subprocess.Popen[bytes] | Started:
        return self.site.command("ingest", str(folder), "--collection", COLLECTION)

    def _kill_later(self, command: subprocess.Popen[bytes] | Started) -> None:
        with suppress(subprocess.TimeoutExpired):
            command.wait(self.chance.uniform(0.5, 4.0))
        command.send_signal(signal.SIGKILL)
        command.wait()
        self.answers["ingest killed"] += 1

    def settle(self, *, limit_s: float) -> None:
        """Return when every accepted job has ended; what ends meanwhile is started again, as a
        supervisor does. DrillError for one that is lost, stuck, or failed without a cause."""
        for job in self.accepted:
            phase = self._phase_at_end(job, limit_s)
            self.phases[phase] += 1
            if phase == "ERROR":
                cause = httpx.get(f"{job}/error", timeout=30).text
                self.answers[f"ERROR: {cause.strip()[:80]}"] += 1
                if len(cause) < 20:
                    raise DrillError(f"{job} failed without a cause")
        self.accepted = []

    def _phase_at_end(self, job: str, limit_s: float) -> str:
        phases: list[str] = []

        def ended() -> bool:
            self.site.revive()
            with suppress(httpx.TransportError):
                answer = httpx.get(f"{job}/phase", timeout=30)
                if answer.status_code == 404:
                    raise DrillError(f"{job} is lost")
                phases.append(answer.text)
            return bool(phases) and phases[-1] in ENDED

        try:
            wait_until(ended, f"{job} has not ended", limit_s=limit_s)
        except DrillError as stuck:
            raise DrillError(f"{stuck}; its phase was {phases[-1:]}") from stuck
        return phases[-1]

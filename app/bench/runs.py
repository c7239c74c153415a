"""A bench of this machine on a sample, and of a service that has data already."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import httpx

from app.bench.figures import Figure
from app.bench.machine import Machine, core_speed, describe_machine, sync_time, write_rate
from app.bench.requests import Bench, building, drawing, reading
from app.bench.sample import EXPOSURES, write_sample
from app.config import Config
from app.main import create_app
from app.wiring_database import initialise
from app.wiring_images import open_ingest

COLLECTION: Final = "bench"
_ADDRESS: Final = "http://bench.invalid"
Tell = Callable[[str], None]
"""Told what is measured now."""


@dataclass(slots=True)
class Outcome:
    """What was found."""

    machine: Machine
    sample: list[Figure] = field(default_factory=list)
    own: list[Figure] = field(default_factory=list)


def run_sample(config: Config, outcome: Outcome, *, seconds: float, tell: Tell) -> None:
    """Measure the machine, and a service of a few simulated images in a folder that is removed
    again. It lies in the data folder if that is there, so that it is of the same disk."""
    home = config.data_dir if config.data_dir.is_dir() else None
    until_s = time.monotonic() + seconds
    with TemporaryDirectory(prefix="skyloom-bench-", dir=home) as folder:
        tell("core and disk")
        outcome.sample += [
            Figure("core", core_speed()),
            Figure("disk", write_rate(Path(folder)) / 1e6, "MB/s"),
            Figure("sync", sync_time(Path(folder))),
        ]
        own = {"data_dir": Path(folder) / "data", "database_url": None, "products": None}
        alone = config.model_copy(update={**own, "dask_scheduler": None, "anonymous": "build"})
        outcome.sample.append(_ingest(alone, Path(folder) / "images", tell))
        asyncio.run(_ask_sample(alone, outcome.sample, until_s, tell))


def _ingest(config: Config, images: Path, tell: Tell) -> Figure:
    tell("ingest")
    write_sample(images)
    initialise(config)
    begun_s = time.perf_counter()
    with open_ingest(config) as service:
        service.run([str(images)], collection=COLLECTION, profile=None, progress=_silent)
    return Figure("ingest", (time.perf_counter() - begun_s) / EXPOSURES)


async def _ask_sample(config: Config, found: list[Figure], until_s: float, tell: Tell) -> None:
    app = create_app(config)
    app.services.start()
    transport = httpx.ASGITransport(app)
    try:
        async with httpx.AsyncClient(transport=transport, base_url=_ADDRESS) as client:
            bench = Bench(client, until_s=until_s)
            places = await bench.find_places()
            images = [place.image for place in places]
            found += await _measure(bench, reading(places[0]) | drawing(places[0]), tell)
            found += await _measure(bench, building(places[0], images), tell, times=2)
    finally:
        with suppress(TimeoutError):  # workers that are slow to end end with this process
            await asyncio.to_thread(app.services.close)


def run_own(config: Config, outcome: Outcome, *, seconds: float, tell: Tell) -> None:
    """Measure the data of the settings in this process: no job is run, and what a service keeps
    (keys, pictures) lies in a folder that is removed again."""
    with TemporaryDirectory(prefix="skyloom-bench-") as folder:
        apart = {"data_dir": Path(folder), "database_url": config.effective_database_url}
        app = create_app(config.model_copy(update={**apart, "anonymous": "read"}))
        try:
            client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=_ADDRESS)
            asyncio.run(_ask_own(client, outcome.own, seconds, tell, draw=True))
        finally:
            app.services.stores.close()


def run_service(url: str, outcome: Outcome, *, seconds: float, tell: Tell) -> None:
    """Measure a service that runs at an address, by requests that change nothing."""
    client = httpx.AsyncClient(base_url=url, timeout=seconds)
    asyncio.run(_ask_own(client, outcome.own, seconds, tell, draw=False))


async def _ask_own(
    client: httpx.AsyncClient, found: list[Figure], seconds: float, tell: Tell, *, draw: bool
) -> None:
    async with client:
        bench = Bench(client, until_s=time.monotonic() + seconds)
        for place in (await bench.find_places())[:1]:
            pictures = drawing(place) if draw else {}
            found += await _measure(bench, reading(place) | pictures, tell)


async def _measure(
    bench: Bench, asked: Mapping[str, Iterator[str]], tell: Tell, **options: int
) -> list[Figure]:
    found = []
    for name, addresses in asked.items():
        tell(name)
        found.append(await bench.measure(name, addresses, **options))
    return found


def new_outcome() -> Outcome:
    """With the facts of this machine."""
    return Outcome(describe_machine())


def _silent(_done: int, _total: int) -> None:
    """Nobody looks at the progress of so small an ingest."""

"""Cutouts of 200 x 200 pixels from an image of 4096 x 4096 with three planes that lies behind an
HTTP address, each at another place: how long they take, and how much the storage sends for them.

The storage is a small server of the tests in a process of its own, without latency. The peer is
astropy's Cutout2D in this process, the file kept open with fsspec. The two take turns. Last, the
same with 20 ms before each answer.
"""

from __future__ import annotations

import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

from benchmarks.cutouts import ask, make_images, peer, places
from benchmarks.figures import Figure, workspace
from tests.flows.service import Service
from tests.storages import http_storage

TURNS = 9
LATENCY_S = 0.02


def serve(folder: Path, pipe: Connection) -> None:
    """A storage whose latency is set, and whose counts are told, through a pipe."""
    with http_storage(folder) as storage:
        pipe.send(storage.url)
        while (told := pipe.recv()) is not None:
            storage.latency_s = told
            pipe.send((storage.sent_bytes, storage.requests["GET"]))
            storage.forget()


class Storage:
    """The storage, from outside."""

    def __init__(self, url: str, pipe: Connection) -> None:
        self.url = url
        self._pipe = pipe
        self.latency_s = 0.0

    def counts(self) -> tuple[int, int]:
        """Bytes and answers since the last call."""
        self._pipe.send(self.latency_s)
        sent, requests = self._pipe.recv()
        return int(sent), int(requests)


@contextmanager
def storage_of(folder: Path) -> Iterator[Storage]:
    """A storage in a process of its own."""
    here, there = multiprocessing.Pipe()
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=serve, args=(folder, there), daemon=True)
    process.start()
    try:
        yield Storage(str(here.recv()), here)
    finally:
        here.send(None)
        process.join(10)


def measure(work: Callable[[], int], storage: Storage) -> tuple[float, float, int]:
    """Seconds, bytes that the storage sent for each byte of the result, and its answers."""
    storage.counts()
    started = time.perf_counter()
    length = work()
    took = time.perf_counter() - started
    sent, requests = storage.counts()
    return took, sent / length, requests


def figures() -> Iterator[Figure]:
    """Plain and tiled files without latency, and the plain one with it."""
    folder = workspace() / "remote"
    images = folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    make_images(images)
    with storage_of(images) as storage:
        service = Service(data_dir=folder / "data", environment={"SKYLOOM_AUTHORITY": "bench.org"})
        urls = [f"{storage.url}/{name}.fits" for name in ("plain", "tiled")]
        service.run("ingest", *urls, "--collection", "far")
        for kept in (folder / "data" / "cache" / "remote").iterdir():
            kept.unlink()  # ingest has read everything
        service.start()
        try:
            circles = places(4 * TURNS)
            yield from compare(service, storage, "plain", circles[:TURNS])
            yield from compare(service, storage, "tiled", circles[:TURNS])
            storage.latency_s = LATENCY_S
            yield from compare(service, storage, "plain", circles[2 * TURNS : 3 * TURNS])
        finally:
            service.stop()


def compare(service: Service, storage: Storage, name: str, circles: list[str]) -> Iterator[Figure]:
    """Both sides in turns; the first turn, which reads headers, does not count."""
    identifier = f"ivo://bench.org/far?{name}"
    ours, theirs = [], []
    cut = peer(f"{storage.url}/{name}.fits", use_fsspec=True)
    for circle in circles:
        ours.append(measure(partial(by_service, service, identifier, circle), storage))
        theirs.append(measure(lambda circle=circle: len(cut(circle)), storage))
    mine, other = (
        [statistics.median(column) for column in zip(*side[1:], strict=True)]
        for side in (ours, theirs)
    )
    where = f"{name}, {1000 * storage.latency_s:.0f} ms away"
    told = (("median of one client", 1000.0, "ms"), ("bytes read for each", 1.0, ""))
    for column, (what, factor, unit) in enumerate((*told, ("requests for one", 1.0, ""))):
        yield Figure(
            name=f"{where}: {what}",
            ours=factor * mine[column],
            unit=unit,
            peer_name="Cutout2D, open with fsspec",
            peer=factor * other[column],
        )


def by_service(service: Service, identifier: str, circle: str) -> int:
    """The length of a cutout."""
    ((_, length),) = ask(service.port, identifier, [circle])
    return length

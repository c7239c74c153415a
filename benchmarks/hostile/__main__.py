"""``python -m benchmarks.hostile requests|schema|files [--count N] [--clients N] [--postgres] …``:
input that nobody should send.

``requests`` are malformed ones, to every route of a real service with a survey; ``schema`` are
those that schemathesis makes of the description, ``--count`` of each operation and kind; ``files``
are mutated FITS files and as many VOTables, read under a limit of memory. Exits with 1 when
anything happened that must not."""

from __future__ import annotations

import argparse
import faulthandler
import resource
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from benchmarks.figures import machine
from benchmarks.hostile import files, requests, schema
from tests.flows.service import Service, free_port
from tests.postgres import find_postgres, private_server

MOST_MEMORY_BYTES: Final = 3 * 2**30


@contextmanager
def survey(data_dir: Path | None, *, postgres: bool, port: int | None) -> Iterator[Service]:
    """A server over the simulated survey, which is made where it is not there."""
    with tempfile.TemporaryDirectory() as scratch:
        service = Service(data_dir=data_dir or Path(scratch), port=port or free_port())
        if not postgres:
            yield from _served(service)
            return
        binaries = find_postgres()
        if isinstance(binaries, str):
            sys.exit(f"PostgreSQL is needed: {binaries}")
        with private_server(binaries) as server:
            service.environment = {"SKYLOOM_DATABASE_URL": server.create()}
            yield from _served(service)


def _served(service: Service) -> Iterator[Service]:
    service.run("demo", "--no-serve", "--data-dir", str(service.data_dir))
    try:
        yield service.start()
    finally:
        service.stop()


def _files(count: int, seed: int) -> int:
    faulthandler.enable()  # what kills the interpreter is told too
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY_BYTES, MOST_MEMORY_BYTES))
    report = files.Report()
    with tempfile.TemporaryDirectory() as scratch:
        files.read_images(report, Path(scratch), count=count, seed=seed)
        files.read_tables(report, Path(scratch), count=count, seed=seed)
    for line in report.lines():
        print("  " + line)
    return int(bool(report.faults))


def _ask(service: Service, asked: argparse.Namespace) -> requests.Report | schema.Report:
    if asked.what == "schema":
        return schema.run(service, examples=asked.count, number=asked.seed)
    return requests.run(
        service,
        count=asked.count,
        clients=asked.clients,
        seed=asked.seed,
        known=requests.known_of(service),
    )


def main() -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hostile", description=__doc__)
    parser.add_argument("what", choices=("requests", "schema", "files"))
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--postgres", action="store_true")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--port", type=int)
    asked = parser.parse_args()
    print(machine())
    if asked.what == "files":
        return _files(asked.count, asked.seed)
    with survey(asked.data_dir, postgres=asked.postgres, port=asked.port) as service:
        report = _ask(service, asked)
    for line in report.lines():
        print("  " + line)
    return int(bool(report.faults))


if __name__ == "__main__":
    sys.exit(main())

"""TAP on 1,000,000 rows over HTTP; beside it, in turns, the same statements and hand-written ones
through the bare driver (:mod:`benchmarks.tap_sides`), and DaCHS where it is set up
(``shared/bench/tap/dachs``).

``python -m benchmarks tap``, or ``python -m benchmarks.tap [--quick] [--rounds N]``. The client is
the neutral one of ``shared/bench/tap/bench_tap.py`` for every service; it checks the numbers of
rows. In each round the services are measured one after another; of several rounds the medians are
shown. Databases are made on the first run and kept in BENCH_DIR; a table for RESULTS.md is left
there as tap.md.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final

from benchmarks.figures import Figure, machine, workspace
from benchmarks.tap_databases import generated, postgres_service, sqlite_service
from benchmarks.tap_sides import side_by_side
from benchmarks.tap_table import write_table
from tests.flows.service import Service
from tests.machine import SHARED

BENCH: Final = SHARED / "bench" / "tap"
PARTS: Final = ("bulk", "small,async")

FORMATS: Final = (
    "application/x-votable+xml;serialization=BINARY2",
    "application/x-votable+xml;serialization=TABLEDATA",
    "text/csv",
)
OUR_FORMATS: Final = (*FORMATS, "application/vnd.apache.parquet")
DACHS_FORMATS: Final = (FORMATS[0], FORMATS[2])
"""Its rate is the same in every format, and a million rows take it most of a minute."""

Measured = dict[str, Any]
"""What the neutral client found: name of a measurement -> its numbers."""


def figures(*, quick: bool = False, rounds: int = 1) -> Iterator[Figure]:
    """Both engines, then DaCHS, in every round; the table is written at the end."""
    generated()
    runs: dict[str, list[Measured]] = {}
    for _ in range(rounds):
        for name, measured in _round(quick):
            runs.setdefault(name, []).append(measured)
    found = {name: _medians(each) for name, each in runs.items()}
    dachs = found.pop("DaCHS", None)
    table = workspace() / "tap.md"
    table.write_text(write_table(found, dachs))
    for engine, measured in found.items():
        yield from _figures_of(engine, measured, dachs)
    print(f"  table: {table}")


def _round(quick: bool) -> Iterator[tuple[str, Measured]]:
    """Every service once."""
    service = sqlite_service()
    url = f"sqlite:///{service.data_dir / 'skyloom.sqlite3'}"
    yield "SQLite", _measure_ours(service, "sqlite", url, quick)
    with postgres_service() as postgres:
        if isinstance(postgres, str):
            print(f"  not run: PostgreSQL ({postgres})")
        else:
            url = postgres.environment["SKYLOOM_DATABASE_URL"]
            yield "PostgreSQL", _measure_ours(postgres, "postgres", url, quick)
    dachs = _measure_dachs(quick)
    if dachs is not None:
        yield "DaCHS", dachs


def _medians(runs: Sequence[Any]) -> Any:
    """The median of each number of the runs, in the shape of the first."""
    first = runs[0]
    if isinstance(first, dict):
        return {name: _medians([run[name] for run in runs]) for name in first}
    return statistics.median(runs) if isinstance(first, int | float) else first


def _measure_ours(service: Service, name: str, url: str, quick: bool) -> Measured:
    """Our service by the neutral client, and beside the bare driver (as ``sides``)."""
    found: Measured = {}
    for part in PARTS:  # each with a server that has done nothing yet, for its memory's sake
        service.start()
        try:
            assert service.process is not None
            options = ["--pid", str(service.process.pid), "--formats", ",".join(OUR_FORMATS)]
            base = f"{service.url}/tap"
            label = f"skyloom_{name}"
            found |= run_client(base, "ivoa.ObsCore", label, part, options, quick=quick)
            if part != "bulk":
                found["sides"] = side_by_side(service, url, quick=quick)
        finally:
            service.stop()
    return found


def _measure_dachs(quick: bool) -> Measured | None:
    """DaCHS on the same rows, started and stopped here; None where it is not set up."""
    if shutil.which("dachs") is None:
        print("  not run: DaCHS (not on this machine)")
        return None
    _run_script("start_dachs.sh")
    try:
        pid = (workspace() / "dachs.pid").read_text().strip()
        options = ["--pid", pid or "0", "--formats", ",".join(DACHS_FORMATS)]
        base = "http://127.0.0.1:8080/tap"
        found: Measured = {}
        for part in PARTS:
            found |= run_client(base, "dp02.obs", "dachs", part, options, quick=quick)
        return found
    except (OSError, subprocess.SubprocessError) as fault:
        print(f"  not run: DaCHS (it did not answer: {fault})")
        return None
    finally:
        _run_script("stop_dachs.sh")


def _run_script(name: str) -> None:
    # Its output goes to a file: the server that it starts would keep a pipe open.
    with (workspace() / "dachs_scripts.log").open("ab") as log:
        command = ["bash", str(BENCH / "dachs" / name)]
        subprocess.run(
            command, check=False, stdout=log, stderr=log, env=_environment(), timeout=120
        )


def run_client(
    base: str, table: str, name: str, part: str, options: list[str], *, quick: bool
) -> Measured:
    """The neutral client's measurements of one service; they also lie in BENCH_DIR."""
    slow = name == "dachs"
    label = f"{name}_{part.partition(',')[0]}"
    scale = (0.05 if slow else 0.5) if quick else (0.1 if slow else 1.0)
    million = 0 if quick else 1
    command = [
        *(sys.executable, str(BENCH / "bench_tap.py"), "--base", base, "--table", table),
        *("--name", label, "--only", part, "--cols", "--quiet", "5", "--scale", str(scale)),
        *("--million", str(million), *options),
    ]
    start = time.perf_counter()
    done = subprocess.run(
        command, check=False, text=True, capture_output=True, env=_environment(), timeout=900
    )
    wrong = [line for line in done.stdout.splitlines() if line.startswith("!! ROWS")]
    if done.returncode or wrong:
        print("\n".join([*wrong, done.stdout[-500:], done.stderr[-1500:]]))
        raise subprocess.CalledProcessError(done.returncode, command)
    print(f"  {label}: {time.perf_counter() - start:.0f} s", flush=True)
    found: Measured = json.loads((workspace() / f"result_tap_{label}.json").read_text())
    for numbers in found.values():
        if isinstance(numbers, dict) and "peak_rss_mb" in numbers:
            numbers["grown_mb"] = numbers["peak_rss_mb"] - found["rss_idle_mb"]
    return found


def _environment() -> dict[str, str]:
    return {**os.environ, "BENCH_DIR": str(workspace())}


# -- what is shown ------------------------------------------------------------------------------


def _figures_of(engine: str, found: Measured, dachs: Measured | None) -> Iterator[Figure]:
    for name, seconds in found["sides"].items():
        for peer, words in (("ours", "our SQL, bare"), ("by_hand", "SQL by hand, bare")):
            yield Figure(
                name=f"{name}, {engine}, 1 client, median",
                ours=1e3 * seconds["http"],
                unit="ms",
                peer_name=words,
                peer=1e3 * seconds[peer],
            )
    yield Figure(
        name=f"contains_all, {engine}, 8 clients",
        ours=found["contains_all"]["c8"]["req_per_s"],
        unit="requests/s",
        peer_name="DaCHS",
        peer=dachs["contains_all"]["c8"]["req_per_s"] if dachs else None,
        larger_is_better=True,
    )
    yield Figure(
        name=f"async job of contains_all, {engine}",
        ours=found["async_contains_all"]["p50_ms"],
        unit="ms",
        peer_name="DaCHS",
        peer=dachs["async_contains_all"]["p50_ms"] if dachs else None,
    )
    for name, numbers in found.items():
        if name.startswith("bulk_"):
            yield Figure(
                name=f"{name}, {engine}",
                ours=numbers["rows_per_s"],
                unit="rows/s",
                peer_name="DaCHS",
                peer=dachs[name]["rows_per_s"] if dachs and name in dachs else None,
                larger_is_better=True,
            )


def main() -> None:
    """Run it alone."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tap")
    parser.add_argument("--quick", action="store_true", help="fewer requests, no million rows")
    parser.add_argument("--rounds", type=int, default=1, help="medians of so many rounds")
    options = parser.parse_args()
    print(machine())
    for figure in figures(quick=options.quick, rounds=options.rounds):
        print("  " + figure.line(), flush=True)


if __name__ == "__main__":
    main()

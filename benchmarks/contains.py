"""Latency of the everyday query: which images contain this point, on 100,000 rows, over HTTP.

The peer on PostgreSQL is the same rows asked through psycopg with hand-written SQL, and
on SQLite through sqlite3 with hand-written R*Tree SQL that skips the exact test: no service can
answer faster than its own database, so the ratio shows what the service adds.
"""

from __future__ import annotations

import csv
import json
import random
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psycopg

from app.schema.obscore import OBSCORE
from app.schema.rows import DatasetRow, Value
from app.sky.boxes import box_of
from app.sky.shapes import Point
from app.sky.vectors import unit_vector
from app.stores.metadata import open_stores
from benchmarks.figures import Figure, interleaved, workspace
from tests.flows.service import Service
from tests.machine import SHARED
from tests.postgres import find_postgres, private_server

ROWS = 100_000
QUERIES = 50
GENERATOR = SHARED / "bench" / "tap" / "obscore_1m.py"


def generated_rows() -> tuple[list[DatasetRow], dict[str, object]]:
    """The neutral generator's table as rows of our store, and its own count of the answers."""
    stem = workspace() / f"obscore_{ROWS}"
    if not stem.with_suffix(".truth.json").exists():
        command = [sys.executable, str(GENERATOR), "--rows", str(ROWS), "--out", str(stem)]
        subprocess.run(command, check=True, capture_output=True)
    with stem.with_suffix(".csv").open() as file:
        rows = [as_row(n, record) for n, record in enumerate(csv.DictReader(file))]
    return rows, json.loads(stem.with_suffix(".truth.json").read_text())


def as_row(number: int, record: dict[str, str]) -> DatasetRow:
    """One CSV record with its own types; links become paths as ingest writes them."""
    columns: dict[str, Value] = {}
    for field in OBSCORE.fields:
        text = record.get(field.name, "")
        if text == "":
            continue
        convert = {"integer": int, "real": float}.get(field.kind, str)
        columns[field.name] = convert(text)
    columns["access_url"] = f"/datalink/links?ID={number}"
    columns["obs_publisher_did"] = f"ivo://bench/{number}"
    return DatasetRow(
        columns=columns,
        file_path=f"/none/{number}.fits",
        file_hdu=0,
        file_size=0,
        file_mtime_ns=0,
        file_checksum="",
        image_ref="{}",
    )


def load(url: str, rows: list[DatasetRow]) -> None:
    """Fill an initialised database with the rows, once."""
    stores = open_stores(url)
    try:
        stores.datasets.upsert(rows)
        stores.datasets.refresh_statistics()
    finally:
        stores.close()


def positions(truth: dict[str, object]) -> list[tuple[float, float]]:
    """Places where there are images."""
    centres = truth["random_row_centres"]
    assert isinstance(centres, list)
    return [(float(ra), float(dec)) for ra, dec in random.Random(5).sample(centres, QUERIES)]


def ask(client: httpx.Client, service: Service, places: list[tuple[float, float]]) -> int:
    """Send one query after another; returns the number of bytes that came."""
    received = 0
    for ra, dec in places:
        query = (
            f"SELECT * FROM ivoa.ObsCore WHERE CONTAINS(POINT('ICRS', {ra}, {dec}), s_region) = 1"
        )
        answer = client.get(f"{service.url}/tap/sync", params={"LANG": "ADQL", "QUERY": query})
        answer.raise_for_status()
        received += len(answer.content)
    return received


def by_psycopg(url: str, places: list[tuple[float, float]]) -> int:
    """The same rows by hand-written SQL on one open connection."""
    count = 0
    with psycopg.connect(url) as connection:
        for ra, dec in places:
            count += len(
                connection.execute(
                    "SELECT * FROM obscore WHERE s_region_bounds && box(point(%s, %s))"
                    " AND (s_region_plane <-> adql_tangent("
                    "s_region_x, s_region_y, s_region_z, %s, %s, %s)) < 1e-4",
                    (ra, dec, *unit_vector(ra, dec)),
                ).fetchall()
            )
    return count


def by_sqlite3(path: Path, places: list[tuple[float, float]]) -> int:
    """The rows whose boxes hold the point, by hand-written R*Tree SQL."""
    count = 0
    connection = sqlite3.connect(path)
    for ra, dec in places:
        box = box_of(Point(ra, dec))
        count += len(
            connection.execute(
                "SELECT * FROM obscore WHERE row_id IN (SELECT row_id FROM "
                "obscore_s_region_outline "
                "WHERE x_min <= ? AND x_max >= ? AND y_min <= ? AND y_max >= ? "
                "AND z_min <= ? AND z_max >= ?)",
                (box.x_max, box.x_min, box.y_max, box.y_min, box.z_max, box.z_min),
            ).fetchall()
        )
    connection.close()
    return count


def check_truth(client: httpx.Client, service: Service, truth: dict[str, object]) -> None:
    """The answer at the reference place has the number of rows that numpy counted."""
    query = (
        "SELECT COUNT(*) AS n FROM ivoa.ObsCore "
        "WHERE CONTAINS(POINT('ICRS', 62, -37), s_region) = 1"
    )
    parameters = {"LANG": "ADQL", "QUERY": query, "RESPONSEFORMAT": "csv"}
    answer = client.get(f"{service.url}/tap/sync", params=parameters).text.split()
    assert int(answer[1]) == truth["contains_62_-37"], answer


def measure(
    name: str,
    service: Service,
    truth: dict[str, object],
    peer: Callable[[list[tuple[float, float]]], int],
    peer_name: str,
) -> Iterator[Figure]:
    """Milliseconds a query, ours over HTTP and the peer's, in interleaved rounds."""
    places = positions(truth)
    service.start()
    try:
        with httpx.Client(timeout=60) as client:
            check_truth(client, service, truth)
            ask(client, service, places[:5])
            seconds = interleaved(
                5, ours=lambda: ask(client, service, places), peer=lambda: peer(places)
            )
    finally:
        service.stop()
    yield Figure(
        name=f"CONTAINS, {ROWS} rows, {name}, SELECT *, a query",
        ours=1e3 * seconds["ours"] / QUERIES,
        unit="ms",
        peer_name=peer_name,
        peer=1e3 * seconds["peer"] / QUERIES,
    )


def figures() -> Iterator[Figure]:
    """Both engines on the same rows."""
    rows, truth = generated_rows()
    folder = workspace() / "contains-sqlite"
    service = Service(data_dir=folder)
    database = folder / "skyloom.sqlite3"
    if not database.exists():
        service.run("init")
        load(f"sqlite:///{database}", rows)
    yield from measure(
        "SQLite", service, truth, lambda places: by_sqlite3(database, places), "sqlite3 by hand"
    )
    binaries = find_postgres()
    if isinstance(binaries, str):
        print(f"  not run: PostgreSQL ({binaries})")
        return
    with private_server(binaries) as server:
        url = server.create()
        service = Service(
            data_dir=workspace() / "contains-postgres", environment={"SKYLOOM_DATABASE_URL": url}
        )
        service.run("init")
        load(url, rows)
        yield from measure(
            "PostgreSQL", service, truth, lambda places: by_psycopg(url, places), "psycopg by hand"
        )

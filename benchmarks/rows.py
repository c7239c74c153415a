"""Rows per second of ``skyloom ingest --rows`` and ``skyloom ingest-table``, indexes included.

What is timed is one command on an initialised, empty database, from the start of its process to its
end. The peers do what one would type for the same columns, without any check: on PostgreSQL COPY of
the CSV into a staging table, pgSphere's polygons made by SQL, a GiST index and the B-trees that
ObsCore is asked by; on SQLite ``executemany``, the same B-trees, and an R*Tree of the boxes in
longitude and latitude. BENCH_ROWS says how many rows, BENCH_RUNS how often each runs (median).
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pyarrow as pa
import pyarrow.csv as arrow_csv
import pyarrow.parquet as pq

from benchmarks.figures import Figure, interleaved, workspace
from tests.flows.service import Service
from tests.machine import SHARED
from tests.postgres import PostgresServer, find_postgres, private_server

ROWS = int(os.environ.get("BENCH_ROWS", "200000"))
RUNS = int(os.environ.get("BENCH_RUNS", "1"))
GENERATOR = SHARED / "bench" / "tap" / "obscore_1m.py"
_POLYGON = (
    "('{' || rtrim(regexp_replace(substr(s_region, 14), '(-?[0-9.]+) (-?[0-9.]+) ?', "
    "'(\\1d,\\2d),', 'g'), ',') || '}')::spoly"
)
_BTREES = ("obs_publisher_did", "lsst_visit, lsst_detector", "t_min")

COMMANDS = {
    "ingest --rows, Parquet": (".parquet", "ingest", "--rows", "FILE"),
    "ingest --rows, CSV": (".csv", "ingest", "--rows", "FILE"),
    "ingest-table, Parquet": (".parquet", "ingest-table", "FILE", "--name", "b.obs"),
}
"""What is timed: title, what the file's name ends in, words of the command line."""

Task = Callable[[Path], None]


def generated_file() -> Path:
    """The neutral generator's table, made once, as Parquet, and as CSV beside it."""
    stem = workspace() / f"obscore_{ROWS}"
    path = stem.with_suffix(".parquet")
    if not path.exists():
        command = [sys.executable, str(GENERATOR), "--rows", str(ROWS), "--out", str(stem)]
        subprocess.run(command, check=True, capture_output=True)
    if not path.with_suffix(".csv").exists():
        arrow_csv.write_csv(pq.read_table(path), path.with_suffix(".csv"))
    return path


def columns(path: Path) -> list[tuple[str, str]]:
    """Name and SQL type of each column."""
    kinds = {"int64": "bigint", "double": "double precision"}
    schema = pq.read_schema(path.with_suffix(".parquet"))
    return [(f.name, kinds.get(str(f.type), "text")) for f in schema]


def by_hand_on_postgres(url: str, path: Path) -> None:
    """COPY, polygons, GiST and three B-trees."""
    described = ", ".join(f"{name} {kind}" for name, kind in columns(path))
    with psycopg.connect(url) as connection:
        connection.execute(b"DROP TABLE IF EXISTS stage, obs")
        connection.execute(f"CREATE UNLOGGED TABLE stage ({described})".encode())
        connection.execute(f"CREATE TABLE obs ({described}, s_poly spoly)".encode())
        with (
            connection.cursor() as cursor,
            cursor.copy(b"COPY stage FROM STDIN (FORMAT csv, HEADER)") as copy,
            path.with_suffix(".csv").open("rb") as file,
        ):
            while chunk := file.read(1 << 20):
                copy.write(chunk)
        connection.execute(f"INSERT INTO obs SELECT *, {_POLYGON} FROM stage".encode())
        connection.execute(b"CREATE INDEX ON obs USING gist (s_poly)")
        for names in _BTREES:
            connection.execute(f"CREATE INDEX ON obs ({names})".encode())


def by_hand_on_sqlite(path: Path, database: Path) -> None:
    """executemany, three B-trees and an R*Tree."""
    database.unlink(missing_ok=True)
    table = pq.read_table(path) if path.suffix == ".parquet" else arrow_csv.read_csv(path)
    with sqlite3.connect(database) as connection:
        names = ", ".join(name for name, _ in columns(path))
        connection.execute(f"CREATE TABLE obs ({names})")
        connection.execute("CREATE VIRTUAL TABLE sky USING rtree(id, west, east, south, north)")
        marks = ", ".join("?" * table.num_columns)
        rows = zip(*(_plain(column) for column in table.columns), strict=True)
        connection.executemany(f"INSERT INTO obs VALUES ({marks})", rows)
        for number, each in enumerate(_BTREES):
            connection.execute(f"CREATE INDEX obs_{number} ON obs ({each})")
        boxes = map(_box, enumerate(table["s_region"].to_pylist(), start=1))
        connection.executemany("INSERT INTO sky VALUES (?, ?, ?, ?, ?)", boxes)
    connection.close()


def _plain(column: pa.ChunkedArray) -> list[object]:
    """Values that SQLite takes: arrow reads times in a CSV file as such."""
    is_time = pa.types.is_timestamp(column.type)
    return (column.cast(pa.string()) if is_time else column).to_pylist()


def _box(row: tuple[int, str]) -> tuple[int, float, float, float, float]:
    numbers = [float(word) for word in row[1].split()[2:]]
    lon, lat = numbers[0::2], numbers[1::2]
    return row[0], min(lon), max(lon), min(lat), max(lat)


def compared(
    engine: str, title: str, path: Path, services: list[Service], peer: Task, name: str
) -> Figure:
    """One command of :data:`COMMANDS` on each of the services, whose databases are empty."""
    suffix, *command = COMMANDS[title]
    file = str(path.with_suffix(suffix))

    def ours() -> None:
        services.pop().run(*(file if word == "FILE" else word for word in command))

    seconds = interleaved(RUNS, ours=ours, peer=lambda: peer(Path(file)))
    return Figure(
        name=f"{title}, {engine}, {ROWS} rows",
        ours=ROWS / seconds["ours"] / 1e3,
        unit="krows/s",
        peer_name=name,
        peer=ROWS / seconds["peer"] / 1e3,
        larger_is_better=True,
    )


def on_sqlite(path: Path) -> Iterator[Figure]:
    """Every command on SQLite."""
    folder, database = workspace() / "rows-sqlite", workspace() / "rows-peer.sqlite3"

    def peer(file: Path) -> None:
        by_hand_on_sqlite(file, database)

    for title in COMMANDS:
        services = [initialised(folder / str(run), {}) for run in range(RUNS)]
        name = "executemany, B-trees, R*Tree"
        yield compared("SQLite", title, path, services, peer, name)
        shutil.rmtree(folder)
    database.unlink()


def on_postgres(path: Path, server: PostgresServer) -> Iterator[Figure]:
    """Every command on PostgreSQL."""
    folder, theirs = workspace() / "rows-postgres", server.create()
    with psycopg.connect(theirs) as connection:
        connection.execute(b"CREATE EXTENSION pg_sphere")

    def peer(file: Path) -> None:
        by_hand_on_postgres(theirs, file)

    for title in COMMANDS:
        urls = [server.create() for _ in range(RUNS)]
        services = [initialised(folder, {"SKYLOOM_DATABASE_URL": url}) for url in urls]
        name = "COPY, B-trees, pgSphere's GiST"
        yield compared("PostgreSQL", title, path, services, peer, name)
        for url in urls:
            server.drop(url)
    shutil.rmtree(folder)


def initialised(folder: Path, environment: dict[str, str]) -> Service:
    """A service with an empty database."""
    service = Service(data_dir=folder, environment=environment)
    service.run("init")
    return service


def figures() -> Iterator[Figure]:
    """All commands on both engines."""
    path = generated_file()
    yield from on_sqlite(path)
    binaries = find_postgres()
    if isinstance(binaries, str):
        print(f"  not run: PostgreSQL ({binaries})")
        return
    with private_server(binaries) as server:
        yield from on_postgres(path, server)

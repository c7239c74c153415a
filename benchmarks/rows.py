"""Rows per second of ``skyloom ingest --rows`` and ``skyloom ingest-table``, indexes included.

The peer on PostgreSQL is what one would type: COPY of the CSV into a staging table, pgSphere's
polygons made by SQL, a GiST index and the B-trees that ObsCore is asked by. The peer on SQLite is
one ``executemany`` of the same rows into a table without any index and without any check.
BENCH_ROWS says how many rows. Each runs once.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pyarrow.csv as arrow_csv
import pyarrow.parquet as pq

from benchmarks.figures import Figure, interleaved, workspace
from tests.flows.service import Service
from tests.machine import SHARED
from tests.postgres import find_postgres, private_server

ROWS = int(os.environ.get("BENCH_ROWS", "100000"))
GENERATOR = SHARED / "bench" / "tap" / "obscore_1m.py"
_POLYGON = (
    "('{' || rtrim(regexp_replace(substr(s_region, 14), '(-?[0-9.]+) (-?[0-9.]+) ?', "
    "'(\\1d,\\2d),', 'g'), ',') || '}')::spoly"
)
_BTREES = ("obs_publisher_did", "lsst_visit, lsst_detector", "t_min")


def generated_file() -> Path:
    """The neutral generator's table, made once, as Parquet (and CSV beside it)."""
    stem = workspace() / f"obscore_{ROWS}"
    if not stem.with_suffix(".parquet").exists():
        command = [sys.executable, str(GENERATOR), "--rows", str(ROWS), "--out", str(stem)]
        subprocess.run(command, check=True, capture_output=True)
    return stem.with_suffix(".parquet")


def columns(path: Path) -> list[tuple[str, str]]:
    """Name and SQL type of each column."""
    kinds = {"int64": "bigint", "double": "double precision"}
    return [(f.name, kinds.get(str(f.type), "text")) for f in pq.read_schema(path)]


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
    """executemany without any index."""
    database.unlink(missing_ok=True)
    table = pq.read_table(path)
    with sqlite3.connect(database) as connection:
        names = ", ".join(name for name, _ in columns(path))
        connection.execute(f"CREATE TABLE obs ({names})")
        marks = ", ".join("?" * table.num_columns)
        rows = zip(*(column.to_pylist() for column in table.columns), strict=True)
        connection.executemany(f"INSERT INTO obs VALUES ({marks})", rows)
    connection.close()


def figure(name: str, seconds: dict[str, float], peer: str) -> Figure:
    """Thousands of rows per second beside the peer's."""
    return Figure(
        name=f"{name}, {ROWS} rows",
        ours=ROWS / seconds["ours"] / 1e3,
        unit="krows/s",
        peer_name=peer,
        peer=ROWS / seconds["peer"] / 1e3,
        larger_is_better=True,
    )


def figures() -> Iterator[Figure]:
    """Both commands on both engines, the start of the process included."""
    path = generated_file()
    folder = workspace() / "rows-sqlite"

    def sqlite(*command: str) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        Service(data_dir=folder).run(*command)

    rows, table = ("ingest", "--rows", str(path)), ("ingest-table", str(path), "--name", "b.obs")

    def peer() -> None:
        by_hand_on_sqlite(path, workspace() / "rows-peer.sqlite3")

    name = "executemany, no index"
    yield figure(
        "ingest --rows, SQLite", interleaved(1, ours=lambda: sqlite(*rows), peer=peer), name
    )
    yield figure(
        "ingest-table, SQLite", interleaved(1, ours=lambda: sqlite(*table), peer=peer), name
    )
    shutil.rmtree(folder, ignore_errors=True)
    binaries = find_postgres()
    if isinstance(binaries, str):
        print(f"  not run: PostgreSQL ({binaries})")
        return
    if not path.with_suffix(".csv").exists():
        arrow_csv.write_csv(pq.read_table(path), path.with_suffix(".csv"))
    with private_server(binaries) as server:
        theirs = server.create()
        with psycopg.connect(theirs) as connection:
            connection.execute(b"CREATE EXTENSION pg_sphere")
        for title, command in (("ingest --rows", rows), ("ingest-table", table)):

            def postgres(command: tuple[str, ...] = command) -> None:
                url = server.create()
                environment = {"SKYLOOM_DATABASE_URL": url}
                Service(data_dir=folder, environment=environment).run(*command)
                server.drop(url)

            seconds = interleaved(1, ours=postgres, peer=lambda: by_hand_on_postgres(theirs, path))
            yield figure(f"{title}, PostgreSQL", seconds, "COPY + pgSphere by hand")

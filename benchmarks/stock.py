"""Geometry on PostgreSQL without pgSphere beside the same database with it.

The rows of the neutral generator are imported once; the database without is a copy that has lost
the extension, as a restored dump has. Each query is compiled for either and asked in turns, rows to
column batches; answers must be of one size. ``BENCH_ROWS`` says how many rows (default 100,000).
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg
import pyarrow as pa

from app.adql.compile import compile_query
from app.schema.catalog import CATALOG
from app.schema.fields import Field, Table
from app.schema.uploads import UploadedTable, to_uploaded, with_uploads
from app.stores.metadata import MetadataStores, open_stores
from benchmarks.contains import GENERATOR
from benchmarks.figures import Figure, interleaved, workspace
from benchmarks.tap_databases import SERVER
from tests.flows.service import Service
from tests.postgres import PostgresServer, find_postgres, private_server

ROWS = int(os.environ.get("BENCH_ROWS", "100000"))
RUNS = 5
UPLOADED = 1_000

T = "ivoa.ObsCore"
QUERIES = {
    "point in region": f"SELECT * FROM {T} WHERE CONTAINS(POINT(62, -37), s_region) = 1",
    "cone of positions, 0.5 deg": (
        f"SELECT obs_id FROM {T} WHERE CONTAINS(POINT(s_ra, s_dec), CIRCLE(62, -37, 0.5)) = 1"
    ),
    "positions in a triangle": (
        f"SELECT obs_id FROM {T} WHERE CONTAINS(POINT(s_ra, s_dec),"
        " POLYGON(61, -38, 63, -37.5, 62, -36)) = 1"
    ),
    "regions that meet 0.5 deg": (
        f"SELECT COUNT(*) FROM {T} WHERE INTERSECTS(s_region, CIRCLE(62, -37, 0.5)) = 1"
    ),
    "regions that meet a triangle": (
        f"SELECT COUNT(*) FROM {T} WHERE INTERSECTS(s_region,"
        " POLYGON(61.8, -37.2, 62.2, -37.1, 62, -36.8)) = 1"
    ),
    "regions within a triangle": (
        f"SELECT COUNT(*) FROM {T} WHERE CONTAINS(s_region,"
        " POLYGON(61, -38, 63, -37.5, 62, -36)) = 1"
    ),
    "regions that hold a small triangle": (
        f"SELECT COUNT(*) FROM {T} WHERE CONTAINS("
        "POLYGON(61.95, -37.02, 62.05, -37.02, 62, -36.95), s_region) = 1"
    ),
    "regions beyond a cone, no index": (
        f"SELECT COUNT(*) FROM {T} WHERE INTERSECTS(s_region, CIRCLE(62, -37, 5)) = 0"
    ),
}
JOINS = {
    "uploaded points in regions": "CONTAINS(POINT(u.ra, u.de), o.s_region) = 1",
    "positions near uploaded points": (
        "CONTAINS(POINT(o.s_ra, o.s_dec), CIRCLE(u.ra, u.de, 0.01)) = 1"
    ),
    "positions in uploaded polygons": "CONTAINS(POINT(o.s_ra, o.s_dec), u.a) = 1",
    "regions that meet uploaded polygons": "INTERSECTS(o.s_region, u.a) = 1",
}


def figures() -> Iterator[Figure]:
    """Seconds of each query."""
    binaries = find_postgres()
    if isinstance(binaries, str):
        yield Figure(name="geometry without pgSphere", ours=0, unit="ms", peer_name=binaries)
        return
    with private_server(binaries, settings=SERVER) as server, _databases(server) as (ours, peer):
        asked: dict[str, tuple[str, tuple[UploadedTable, ...]]]
        asked = {name: (text, ()) for name, text in QUERIES.items()}
        uploads = (_uploaded(),)
        for name, condition in JOINS.items():
            text = f"SELECT o.obs_id, u.n FROM TAP_UPLOAD.u JOIN {T} o ON {condition}"
            asked[f"{name} ({UPLOADED})"] = (text, uploads)
        for name, (text, tables) in asked.items():
            counts = [_count(stores, text, tables) for stores in (ours, peer)]
            if counts[0] != counts[1]:
                raise SystemExit(f"{name}: {counts[0]} without pgSphere, {counts[1]} with it")
            seconds = interleaved(
                RUNS,
                ours=partial(_count, ours, text, tables),
                peer=partial(_count, peer, text, tables),
            )
            yield Figure(
                name=f"{name}, {counts[0]:,}",
                ours=1e3 * seconds["ours"],
                unit="ms",
                peer_name="pgSphere",
                peer=1e3 * seconds["peer"],
            )


@contextmanager
def _databases(server: PostgresServer) -> Iterator[tuple[MetadataStores, MetadataStores]]:
    """The rows without pgSphere, and with it."""
    rows = workspace() / f"obscore_{ROWS}"
    if not rows.with_suffix(".truth.json").exists():
        command = [sys.executable, str(GENERATOR), "--rows", str(ROWS), "--out", str(rows)]
        subprocess.run(command, check=True, capture_output=True)
    peer = server.create()
    with TemporaryDirectory() as folder:
        service = Service(data_dir=Path(folder), environment={"SKYLOOM_DATABASE_URL": peer})
        service.run("init")
        service.run("ingest", "--rows", str(rows.with_suffix(".parquet")))
    _run(peer, "VACUUM ANALYZE")
    ours = server.create(template=peer)
    _run(ours, "DROP EXTENSION pg_sphere CASCADE")
    stores = open_stores(ours), open_stores(peer)
    yield stores
    for each in stores:
        each.close()


def _run(url: str, statement: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement.encode())


def _uploaded() -> UploadedTable:
    """Positions among the rows, and a square of half a degree about each."""
    rng = random.Random(7)
    places = [(rng.uniform(55.0, 70.0), rng.uniform(-42.0, -32.0)) for _ in range(UPLOADED)]
    squares = [
        " ".join(
            f"{lon + 0.25 * a:.6f} {lat + 0.25 * b:.6f}"
            for a, b in ((-1, -1), (1, -1), (1, 1), (-1, 1))
        )
        for lon, lat in places
    ]
    fields = (
        Field(name="n", column="c1", kind="integer", datatype="int"),
        Field(name="ra", column="c2", kind="real", datatype="double"),
        Field(name="de", column="c3", kind="real", datatype="double"),
        Field(
            name="a", column="c4", kind="region", datatype="double", arraysize="*", xtype="polygon"
        ),
    )
    table = Table(schema_name="TAP_UPLOAD", name="TAP_UPLOAD.u", physical="upload_1", fields=fields)
    columns = [pa.array(range(UPLOADED)), *(pa.array(each) for each in zip(*places, strict=True))]
    return to_uploaded(table, [*columns, pa.array(squares)])


def _count(stores: MetadataStores, text: str, uploads: tuple[UploadedTable, ...]) -> int:
    """How many rows an answer has, or what a single number says."""
    query = compile_query(
        text,
        catalog=with_uploads(CATALOG, uploads),
        target=stores.tables.target,
        maxrec=5_000_000,
    )
    batches = list(stores.tables.stream(query, uploads=uploads))
    if text.startswith("SELECT COUNT"):
        return int(batches[0].columns[0][0].as_py())
    return sum(batch.num_rows for batch in batches)

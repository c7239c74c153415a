"""ObsCore on PostgreSQL in one table beside the same rows in partitions by collection.

``python -m benchmarks partitions``. Ours is the service's own table; the peer has its columns,
indexes and triggers, one partition for each of eight collections from 50 to 1 % of the rows, and
neither the foreign keys nor the unique identifiers, which PostgreSQL does not offer over partitions
(docs/design/035). Everything goes through the service's own stores, in turns; answers must be of
one size. Figures are processor time of client and server, which runs nothing in parallel.
``BENCH_ROWS`` says how many rows (default 1,000,000). Ratios above 1: one table is ahead.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import psycopg
import pyarrow as pa
import sqlalchemy as sa

from app.adql.compile import compile_query
from app.schema.batches import arrow_type
from app.schema.catalog import CATALOG
from app.schema.obscore import OBSCORE
from app.stores.database import read_transaction, write_transaction
from app.stores.metadata import MetadataStores, open_stores
from app.stores.tables.copied_rows import CopyWriter
from app.stores.tables.planner_statistics import refresh_statistics
from app.stores.tables.row_batch import NAMES, RowBatch, row_batch
from app.stores.tables.row_upsert import upsert_batch
from benchmarks.figures import Figure
from benchmarks.partitions_databases import (
    PARTED,
    SHARES,
    partition,
    partition_of,
    rows_of_collections,
)
from benchmarks.processor_time import ProcessorTime
from benchmarks.tap_databases import SERVER
from tests.flows.service import Service
from tests.postgres import find_postgres, private_server

ROWS = int(os.environ.get("BENCH_ROWS", "1000000"))
RUNS = 3
LOOKUPS = 50
CHANGED = 2_000
EMPTY = 56
"""Collections without rows that are added in the end, as of an archive of 64."""

ALONE = {
    **SERVER,
    "max_parallel_workers_per_gather": "0",
    "max_parallel_maintenance_workers": "0",
}
"""So that all a statement takes is taken by its session."""

Both = tuple[MetadataStores, MetadataStores]
"""Of the one table, and of partitions."""

T = "ivoa.ObsCore"
LARGE, MIDDLE, SMALL = "survey.a", "survey.e", "survey.h"
REMOVED = ("survey.e", "survey.f", "survey.g")
QUERIES = {
    "point in region": "SELECT * FROM {t} WHERE CONTAINS(POINT(62, -37), s_region) = 1{more}",
    "cone of positions, 0.5 deg": (
        "SELECT obs_id FROM {t} WHERE CONTAINS(POINT(s_ra, s_dec), CIRCLE(62, -37, 0.5)) = 1{more}"
    ),
    "regions that meet 0.5 deg": (
        "SELECT COUNT(*) FROM {t} WHERE INTERSECTS(s_region, CIRCLE(62, -37, 0.5)) = 1{more}"
    ),
    "a fifth of the nights, one band": (
        "SELECT COUNT(*) FROM {t} WHERE t_min < 59945 AND lsst_band = 'i'{more}"
    ),
}
SCOPES = {"all": "", **{name: f" AND obs_collection = '{name}'" for name in (LARGE, SMALL)}}
COUNTED = f"SELECT obs_collection, COUNT(*) FROM {T} GROUP BY obs_collection"


def figures() -> Iterator[Figure]:
    """Queries, writing, removal, then what lies on disk."""
    binaries = find_postgres()
    if isinstance(binaries, str):
        yield Figure(name="partitions", ours=0, unit="ms", peer_name=binaries)
        return
    with private_server(binaries, settings=ALONE) as server, TemporaryDirectory() as folder:
        url, clock = server.create(), ProcessorTime(server)
        service = Service(data_dir=Path(folder), environment={"SKYLOOM_DATABASE_URL": url})
        service.run("init")
        path = rows_of_collections(ROWS)
        seconds = clock.of(lambda: service.run("ingest", "--rows", str(path)))
        yield Figure(name=f"ingest of {ROWS:,}", ours=1e6 * seconds / ROWS, unit="us/row")
        both = open_stores(url), open_stores(partition(url))
        yield from _queries(both, clock)
        yield from _sizes(url)
        yield from _upserts(both, clock)
        yield from _removals(url, clock)
        yield from _rebuilds(url, clock)
        yield from _more_collections(url, both, clock)
        for stores in both:
            stores.close()


def _pair(name: str, unit: str, ours: float, peer: float) -> Figure:
    return Figure(name=name, ours=ours, unit=unit, peer_name="partitions", peer=peer)


def _queries(both: Both, clock: ProcessorTime) -> Iterator[Figure]:
    asked = {
        f"{name}, {scope}": text.format(t=T, more=more)
        for name, text in QUERIES.items()
        for scope, more in SCOPES.items()
    }
    for name, text in {**asked, "rows of each collection": COUNTED}.items():
        yield _timed(name, text, both, clock)
    yield _lookups("a row by its identifier", both, clock)


def _timed(name: str, text: str, both: Both, clock: ProcessorTime) -> Figure:
    """One query of both. Raises SystemExit when they answer otherwise."""
    ours, peer = (partial(_count, stores, text) for stores in both)
    counts = ours(), peer()
    if counts[0] != counts[1]:
        raise SystemExit(f"{name}: {counts[0]} of one table, {counts[1]} of partitions")
    medians = clock.medians(RUNS, ours, peer)
    return _pair(f"{name}, {counts[0]:,}", "ms", *(1e3 * seconds for seconds in medians))


def _count(stores: MetadataStores, text: str) -> int:
    """How many rows an answer has, or what a single number says."""
    query = compile_query(text, catalog=CATALOG, target=stores.tables.target, maxrec=5_000_000)
    batches = list(stores.tables.stream(query))
    rows = sum(batch.num_rows for batch in batches)
    alone = rows == 1 and batches[0].num_columns == 1 and pa.types.is_integer(batches[0][0].type)
    return int(batches[0][0][0].as_py()) if alone else rows


def _lookups(name: str, both: Both, clock: ProcessorTime) -> Figure:
    """Row by row, as links and cutouts ask."""
    query = sa.text(
        "SELECT obs_publisher_did FROM public.obscore WHERE obs_collection = :name"
        f" ORDER BY obs_publisher_did LIMIT {LOOKUPS}"
    )
    with read_transaction(both[0].engine) as connection:
        names = list(connection.execute(query, {"name": LARGE}).scalars())

    def look(stores: MetadataStores) -> None:
        for each in names:
            stores.datasets.get(each)

    medians = clock.medians(RUNS, lambda: look(both[0]), lambda: look(both[1]))
    return _pair(name, "ms", *(1e3 * seconds / LOOKUPS for seconds in medians))


def _upserts(both: Both, clock: ProcessorTime) -> Iterator[Figure]:
    """Rows that changed, of one collection and of all, and what the planner is told afterwards."""
    for scope, condition in {MIDDLE: f"obs_collection = '{MIDDLE}'", "all": "true"}.items():
        waiting = [_changed(stores, condition) for stores in both]

        def write(side: int, waiting: list[list[RowBatch]] = waiting) -> None:
            batch = waiting[side].pop()
            with write_transaction(both[side].engine) as connection:
                counts = upsert_batch(connection, CopyWriter(connection), batch, _refused)
            assert counts.updated == len(batch), counts

        medians = clock.medians(RUNS, partial(write, 0), partial(write, 1))
        yield _pair(f"upsert of {CHANGED:,} changed rows, {scope}", "s", *medians)
    engines = [stores.engine for stores in both]
    seconds = [clock.of(partial(refresh_statistics, engine, "obscore")) for engine in engines]
    yield _pair("VACUUM and ANALYZE after them", "s", *seconds)


def _refused(number: int, identifier: str, reason: str) -> None:
    raise SystemExit(f"row {number}, {identifier}: {reason}")


def _changed(stores: MetadataStores, condition: str) -> list[RowBatch]:
    """Rows of the table with other titles, for each turn."""
    query = sa.text(
        f"SELECT {', '.join(NAMES)} FROM obscore WHERE {condition} "
        f"ORDER BY lower(obs_publisher_did) LIMIT {CHANGED}"
    )
    with read_transaction(stores.engine) as connection:
        values = list(zip(*connection.execute(query).all(), strict=True))
    columns = {
        field.name: pa.array(column, arrow_type(field))
        for field, column in zip(OBSCORE.fields, values, strict=True)
    }
    rows = len(columns["obs_title"])
    titles = (pa.repeat(f"title of turn {turn}, {condition}", rows) for turn in range(RUNS))
    return [row_batch({**columns, "obs_title": each}, np.arange(rows)) for each in titles]


def _removals(url: str, clock: ProcessorTime) -> Iterator[Figure]:
    """Collections that go one by one, and come back: statements alone."""
    totals: dict[str, float] = {}
    with psycopg.connect(url, autocommit=True) as connection:

        def timed(name: str, *statements: str) -> None:
            for text in statements:
                took = clock.of(partial(connection.execute, text.encode()))
                totals[name] = totals.get(name, 0.0) + took

        table = f"{PARTED}.obscore"
        for name in REMOVED:
            part = partition_of(name)
            connection.execute(
                f"CREATE TABLE saved AS SELECT * FROM public.obscore"
                f" WHERE obs_collection = '{name}'".encode()
            )
            timed(
                "removal, ours",
                f"DELETE FROM public.obscore WHERE obs_collection = '{name}'",
                "VACUUM (TRUNCATE false) public.obscore",
            )
            timed(
                "removal, peer",
                f"ALTER TABLE {table} DETACH PARTITION {part}",
                f"DROP TABLE {part}",
            )
            timed("return, ours", "INSERT INTO public.obscore SELECT * FROM saved")
            timed(
                "return, peer",
                f"CREATE TABLE {part} (LIKE {table} INCLUDING DEFAULTS INCLUDING CONSTRAINTS)",
                f"INSERT INTO {part} SELECT * FROM saved",
                f"ALTER TABLE {table} ATTACH PARTITION {part} FOR VALUES IN ('{name}')",
            )
            connection.execute(b"DROP TABLE saved")
    share = sum(SHARES[name] for name in REMOVED)
    for name, title in {"removal": "leave", "return": "come"}.items():
        ours, peer = totals[f"{name}, ours"], totals[f"{name}, peer"]
        yield _pair(
            f"{len(REMOVED)} collections, {share:.0%} of the rows, {title}", "s", ours, peer
        )


def _rebuilds(url: str, clock: ProcessorTime) -> Iterator[Figure]:
    """Indexes made anew: of all rows, and of collections of several sizes alone."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(b"SET maintenance_work_mem = '256MB'")

        def rebuild(table: str) -> None:
            connection.execute(f"REINDEX TABLE {table}".encode())

        ours = clock.of(partial(rebuild, "public.obscore"))
        for name in (LARGE, MIDDLE):
            peer = clock.of(partial(rebuild, partition_of(name)))
            yield _pair(f"indexes made anew, all rows; of {name} alone", "s", ours, peer)
        names = connection.execute(_INDEX_NAMES).fetchall()
        for (name,) in names:
            statement = f"REINDEX INDEX public.{name}".encode()
            took = clock.of(partial(connection.execute, statement))
            yield Figure(name=f"{name} made anew", ours=took, unit="s")


_INDEX_NAMES = (
    b"SELECT relname FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid"
    b" WHERE indrelid = 'public.obscore'::regclass ORDER BY 1"
)


def _sizes(url: str) -> Iterator[Figure]:
    """Bytes a row of the table and of each index."""
    leaves = f"SELECT inhrelid FROM pg_inherits WHERE inhparent = '{PARTED}.obscore'::regclass"
    with psycopg.connect(url) as connection:

        def size(function: str, relations: str) -> float:
            query = f"SELECT sum({function}(oid)) FROM pg_class WHERE oid IN ({relations})"
            (found,) = connection.execute(query.encode()).fetchone() or (0,)
            return float(found) / ROWS

        for title, function in {"table": "pg_table_size", "indexes": "pg_indexes_size"}.items():
            ours, peer = size(function, "'public.obscore'::regclass"), size(function, leaves)
            yield _pair(f"{title}, bytes a row", "bytes", ours, peer)
        for (name,) in connection.execute(_INDEX_NAMES).fetchall():
            found = size("pg_relation_size", f"'public.{name}'::regclass")
            yield Figure(name=f"{name}, bytes a row", ours=found, unit="bytes")


def _more_collections(url: str, both: Both, clock: ProcessorTime) -> Iterator[Figure]:
    """What partitions cost that a query has no use for."""
    with psycopg.connect(url, autocommit=True) as connection:
        for number in range(EMPTY):
            connection.execute(
                f"CREATE TABLE {PARTED}.obscore_more_{number} PARTITION OF {PARTED}.obscore"
                f" FOR VALUES IN ('more.{number}')".encode()
            )
        connection.execute(f"ANALYZE {PARTED}.obscore".encode())
    beside = f"beside {EMPTY} empty collections"
    yield _lookups(f"a row by its identifier, {beside}", both, clock)
    for name in ("point in region", "cone of positions, 0.5 deg"):
        yield _timed(f"{name}, {beside}", QUERIES[name].format(t=T, more=""), both, clock)

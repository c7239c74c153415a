"""ObsCore as one table and, in another schema of the same database, in partitions by collection."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import sqlalchemy as sa

from benchmarks.contains import GENERATOR
from benchmarks.figures import workspace

SHARES: Final = {
    "survey.a": 0.50,
    "survey.b": 0.20,
    "survey.c": 0.12,
    "survey.d": 0.08,
    "survey.e": 0.05,
    "survey.f": 0.025,
    "survey.g": 0.015,
    "survey.h": 0.01,
}
"""Collections, and which part of the visits each has."""

PARTED: Final = "parted"
"""Schema of the partitioned table, and the role that finds it first."""

_TABLE: Final = "obscore"


def rows_of_collections(rows: int) -> Path:
    """The neutral generator's rows, whole visits and patches dealt out to the collections."""
    stem = workspace() / f"obscore_{rows}"
    path = workspace() / f"obscore_{rows}_collections.parquet"
    if path.exists():
        return path
    if not stem.with_suffix(".parquet").exists():
        command = [sys.executable, str(GENERATOR), "--rows", str(rows), "--out", str(stem)]
        subprocess.run(command, check=True, capture_output=True)
    table = pq.read_table(stem.with_suffix(".parquet"))
    keys = table["lsst_visit"].fill_null(-1).to_numpy() * 1000 + table["lsst_patch"].fill_null(0)
    _, groups = np.unique(np.asarray(keys), return_inverse=True)
    chosen = np.random.default_rng(35).choice(
        len(SHARES), int(groups.max()) + 1, p=list(SHARES.values())
    )
    names = pa.array(list(SHARES)).take(pa.array(chosen[groups]))
    place = table.schema.get_field_index("obs_collection")
    pq.write_table(table.set_column(place, "obs_collection", names), path)
    return path


def partition(url: str) -> str:
    """Put the rows of a service's table into partitions; the URL that finds them first."""
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in _statements(connection):
            connection.execute(statement.encode())
    parsed = sa.make_url(url).set(username=PARTED)
    return parsed.render_as_string(hide_password=False)


def _statements(connection: psycopg.Connection[tuple[object, ...]]) -> Iterator[str]:
    yield f"CREATE SCHEMA {PARTED}"
    yield (
        f"CREATE TABLE {PARTED}.{_TABLE} (LIKE public.{_TABLE} INCLUDING DEFAULTS "
        "INCLUDING CONSTRAINTS INCLUDING STORAGE) PARTITION BY LIST (obs_collection)"
    )
    for column in _texts(connection, _UNSAMPLED):
        yield f"ALTER TABLE {PARTED}.{_TABLE} ALTER COLUMN {column} SET STATISTICS 0"
    for name in SHARES:
        yield (
            f"CREATE TABLE {partition_of(name)} PARTITION OF {PARTED}.{_TABLE} "
            f"FOR VALUES IN ('{name}')"
        )
    yield f"INSERT INTO {PARTED}.{_TABLE} SELECT * FROM public.{_TABLE} ORDER BY row_id"
    for definition in _texts(connection, _INDEXES):
        yield _over_partitions(definition)
    for definition in _texts(connection, _TRIGGERS):
        yield definition.replace(f" ON public.{_TABLE} ", f" ON {PARTED}.{_TABLE} ")
    yield f"CREATE ROLE {PARTED} LOGIN SUPERUSER"
    yield f"ALTER ROLE {PARTED} SET search_path = {PARTED}, public"
    yield f"GRANT USAGE ON SCHEMA {PARTED} TO skyloom_reader"
    yield f"GRANT SELECT ON {PARTED}.{_TABLE} TO skyloom_reader"
    yield "VACUUM ANALYZE"


def partition_of(collection: str) -> str:
    """Name of a collection's partition."""
    return f"{PARTED}.{_TABLE}_{collection.replace('.', '_')}"


def _over_partitions(definition: str) -> str:
    """An index of the one table as it can be had over partitions: PostgreSQL wants the collection
    in every key that is unique."""
    text = definition.replace(f" ON public.{_TABLE} ", f" ON {PARTED}.{_TABLE} ")
    if not text.startswith("CREATE UNIQUE"):
        return text
    keys, where, condition = text.partition(" WHERE ")
    return f"{keys[:-1]}, obs_collection){where}{condition}"


_UNSAMPLED: Final = """
SELECT quote_ident(attname) FROM pg_attribute
WHERE attrelid = 'public.obscore'::regclass AND attstattarget = 0 AND NOT attisdropped
  AND attnum > 0
"""
_INDEXES: Final = """
SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = 'public.obscore'::regclass
"""
_TRIGGERS: Final = """
SELECT pg_get_triggerdef(oid) FROM pg_trigger
WHERE tgrelid = 'public.obscore'::regclass AND NOT tgisinternal
"""


def _texts(connection: psycopg.Connection[tuple[object, ...]], query: str) -> list[str]:
    return [str(text) for (text,) in connection.execute(query.encode()).fetchall()]

"""Both engines search by their spatial indexes wherever a spatial condition stands."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from typing import cast

import numpy as np
import pyarrow as pa
import pytest
import sqlalchemy as sa

from app.adql.compile import compile_query
from app.adql.compiled import CompiledQuery
from app.schema.catalog import CATALOG
from app.schema.fields import Field, Table
from app.schema.uploads import UploadedTable, to_uploaded, with_uploads
from app.stores.database import postgres_connection
from app.stores.metadata import MetadataStores, open_stores
from app.stores.tables.uploads import drop_sqlite, load_postgres, load_sqlite
from tests.adql.conftest import ask
from tests.stores.contract import dataset

T = "ivoa.ObsCore"

REGION = "obscore_s_region"
POSITION = "obscore_s_ra"
SOURCES = "dia_source_ra"

POSTGRES = pytest.mark.needs("postgresql")

SEARCHES = [
    (f"SELECT obs_id FROM {T} WHERE CONTAINS(POINT(62, -37), s_region) = 1", REGION),
    (
        f"SELECT obs_id FROM {T} WHERE calib_level > 0 AND 1 = INTERSECTS(s_region, CIRCLE(62,"
        " -37, 1)) AND t_min > 0",
        REGION,
    ),
    (f"SELECT COUNT(*) FROM {T} WHERE CONTAINS(s_region, BOX(62, -37, 3, 3)) = 1", REGION),
    (f"SELECT obs_id FROM {T} WHERE INTERSECTS(s_region, POLYGON(1,1, 2,1, 2,2)) = 1", REGION),
    (f"SELECT obs_id FROM {T} WHERE DISTANCE(s_region, POINT(62, -37)) < 0.5", REGION),
    (
        f"SELECT obs_id FROM {T} WHERE CONTAINS(POINT(62, -37), s_region) = 1 OR"
        " CONTAINS(POINT(120, 80), s_region) = 1",
        REGION,
    ),
    (f"SELECT obs_id FROM {T} WHERE DISTANCE(POINT(s_ra, s_dec), POINT(62, -37)) < 1", POSITION),
    (f"SELECT obs_id FROM {T} WHERE DISTANCE(62, -37, s_ra, s_dec) <= 1", POSITION),
    (
        "SELECT dia_source_id FROM skyloom.dia_source"
        " WHERE CONTAINS(POINT(ra, dec), CIRCLE(62, -37, 0.01)) = 1 AND is_dipole = 0",
        SOURCES,
    ),
    ("SELECT snr FROM skyloom.dia_source WHERE DISTANCE(ra, dec, 62, -37) < 0.01", SOURCES),
    (
        f"SELECT obs_id FROM {T} WHERE CONTAINS(POINT(62, -37), CIRCLE(s_ra, s_dec, 1)) = 1",
        POSITION,
    ),
    (f"SELECT obs_id FROM {T} WHERE 1 > DISTANCE(s_ra, s_dec, 62, -37)", POSITION),
    (f"SELECT obs_id FROM {T} WHERE DISTANCE(s_ra, s_dec, 62, -37) BETWEEN 0.1 AND 1", POSITION),
    (
        f"SELECT obs_id FROM {T} WHERE CONTAINS(POINT(s_ra, s_dec), POLYGON(61,-38, 63,-38,"
        " 62,-36)) = 1",
        POSITION,
    ),
    (
        f"SELECT a.obs_id, b.obs_id FROM {T} a JOIN {T} b ON"
        " CONTAINS(POINT(a.s_ra, a.s_dec), b.s_region) = 1",
        REGION,
    ),
    (
        f"SELECT a.obs_id, b.obs_id FROM {T} a JOIN {T} b ON"
        " INTERSECTS(CIRCLE(a.s_ra, a.s_dec, 0.1), b.s_region) = 1",
        REGION,
    ),
    (
        f"SELECT a.obs_id, b.obs_id FROM {T} a LEFT JOIN {T} b ON"
        " CONTAINS(POINT(a.s_ra, a.s_dec), b.s_region) = 1",
        REGION,
    ),
    (
        f"SELECT a.obs_id, b.obs_id FROM {T} a, {T} b WHERE INTERSECTS(a.s_region, b.s_region) = 1",
        REGION,
    ),
    (
        f"SELECT a.obs_id, b.obs_id FROM {T} a JOIN {T} b ON"
        " DISTANCE(a.s_ra, a.s_dec, b.s_ra, b.s_dec) < 0.1",
        POSITION,
    ),
    (
        f"SELECT a.obs_id, b.obs_id FROM {T} a JOIN {T} b ON"
        " DISTANCE(POINT(a.s_ra, a.s_dec), POINT(b.s_ra, b.s_dec)) < a.s_fov",
        POSITION,
    ),
    (
        f"SELECT obs_id FROM {T} WHERE obs_id IN (SELECT obs_id FROM {T} WHERE"
        " CONTAINS(POINT(62, -37), s_region) = 1)",
        REGION,
    ),
    (
        f"SELECT obs_id FROM {T} a WHERE EXISTS (SELECT 1 FROM {T} b WHERE"
        " CONTAINS(POINT(a.s_ra, a.s_dec), b.s_region) = 1 AND b.obs_id <> a.obs_id)",
        REGION,
    ),
    (
        f"SELECT COUNT(*) FROM (SELECT obs_id FROM {T} WHERE CONTAINS(POINT(62, -37), s_region)"
        " = 1) AS d",
        REGION,
    ),
    (
        "SELECT d.obs_id FROM (SELECT obs_id, s_region FROM ivoa.ObsCore) AS d WHERE"
        " CONTAINS(POINT(62, -37), d.s_region) = 1",
        REGION,
    ),
    (
        "WITH near AS (SELECT obs_id, s_ra, s_dec FROM ivoa.ObsCore WHERE"
        " DISTANCE(s_ra, s_dec, 62, -37) < 1) SELECT COUNT(*) FROM near",
        POSITION,
    ),
    (
        f"SELECT COUNT(*) FROM (SELECT DISTINCT obs_collection, s_region FROM {T}) AS d WHERE"
        " CONTAINS(POINT(62, -37), d.s_region) = 1 AND d.obs_collection <> 'none'",
        REGION,
    ),
    (
        f"SELECT d.n FROM (SELECT s_ra, s_dec, COUNT(*) AS n FROM {T} GROUP BY s_ra, s_dec) AS d"
        " WHERE d.n > 0 AND DISTANCE(d.s_ra, d.s_dec, 62, -37) < 1",
        POSITION,
    ),
    (
        f"SELECT COUNT(*) FROM (SELECT s_region FROM {T} WHERE calib_level < 3 EXCEPT"
        f" SELECT s_region FROM {T} WHERE calib_level = 2) AS d WHERE"
        " INTERSECTS(d.s_region, CIRCLE(62, -37, 1)) = 1",
        REGION,
    ),
    (
        f"SELECT COUNT(*) FROM (SELECT POINT(s_ra, s_dec) AS p FROM {T} UNION"
        f" SELECT POINT(s_ra, s_dec) FROM {T}) AS d WHERE CONTAINS(d.p, CIRCLE(62, -37, 1)) = 1",
        POSITION,
    ),
]

KEPT = [
    f"SELECT DISTINCT TOP 40 obs_id, s_region, s_ra FROM {T} ORDER BY obs_id",
    f"SELECT DISTINCT obs_id, s_region, s_ra FROM {T} ORDER BY obs_id OFFSET 20",
    f"SELECT obs_id, s_region, s_ra FROM {T} EXCEPT"
    f" SELECT TOP 40 obs_id, s_region, s_ra FROM {T} ORDER BY obs_id",
]
"""Subqueries of which a condition around them must see the rows that there are."""


UPLOAD_JOINS = [
    ("CONTAINS(POINT(u.ra, u.dec), o.s_region) = 1", REGION),
    ("INTERSECTS(CIRCLE(u.ra, u.dec, 0.1), o.s_region) = 1", REGION),
    ("CONTAINS(POINT(u.ra, u.dec), CIRCLE(o.s_ra, o.s_dec, 1)) = 1", POSITION),
    ("CONTAINS(POINT(o.s_ra, o.s_dec), CIRCLE(u.ra, u.dec, 1)) = 1", POSITION),
    ("CONTAINS(POINT(u.ra, u.dec), CIRCLE(o.s_ra, o.s_dec, u.r)) = 1", POSITION),
    ("DISTANCE(u.ra, u.dec, o.s_ra, o.s_dec) < 1", POSITION),
]


def upload() -> UploadedTable:
    """1,000 positions, most of them among those of the rows."""
    fields = tuple(
        Field(name=name, column=f"c{place}", kind="real", datatype="double")
        for place, name in enumerate(("ra", "dec", "r"))
    )
    table = Table(schema_name="TAP_UPLOAD", name="TAP_UPLOAD.u", physical="upload_1", fields=fields)
    rng = np.random.default_rng(5)
    lon = rng.choice((0, 62, 120, 250), 1000) + rng.uniform(-2, 2, 1000)
    lat = rng.choice((0, 45, -37, 80), 1000) + rng.uniform(-2, 2, 1000)
    places = (lon % 360, lat, np.ones(1000))
    return to_uploaded(table, [pa.array(column) for column in places])


def plan(stores: MetadataStores, text: str, *uploads: UploadedTable) -> str:
    """How the engine means to find the rows; PostgreSQL with scans of whole tables priced out."""
    query = compile_query(
        text,
        catalog=with_uploads(CATALOG, uploads),
        target=stores.tables.target,
        maxrec=10_000,
    )
    explain = _explained_by_sqlite if stores.tables.target == "sqlite" else _explained_by_postgres
    return "\n".join(map(str, explain(stores, query, uploads)))


def _explained_by_sqlite(
    stores: MetadataStores, query: CompiledQuery, uploads: Sequence[UploadedTable]
) -> list[object]:
    with closing(stores.engine.raw_connection()) as pooled:
        connection = cast(sqlite3.Connection, pooled.driver_connection)
        load_sqlite(connection, uploads)
        rows = connection.execute(f"EXPLAIN QUERY PLAN {query.sql}", dict(query.binds)).fetchall()
        drop_sqlite(connection, uploads)
    return rows


def _explained_by_postgres(
    stores: MetadataStores, query: CompiledQuery, uploads: Sequence[UploadedTable]
) -> list[object]:
    with stores.engine.connect() as connection:
        cursor = postgres_connection(connection.connection).cursor()
        load_postgres(cursor, uploads)
        connection.execute(sa.text("ANALYZE obscore"))
        connection.execute(sa.text("SET LOCAL enable_seqscan = off"))
        return list(connection.execute(sa.text(f"EXPLAIN {query.sql}"), dict(query.binds)))


@pytest.mark.parametrize("text", [text for text, _ in SEARCHES])
def test_sqlite_walks_the_tree_and_fetches_rows_by_key(
    sqlite_stores: MetadataStores, text: str
) -> None:
    found = plan(sqlite_stores, text)
    assert "VIRTUAL TABLE INDEX 2:" in found
    assert "USING INTEGER PRIMARY KEY (rowid=?)" in found


@pytest.mark.needs("postgresql")
@pytest.mark.parametrize(("text", "index"), SEARCHES)
def test_postgres_searches_by_its_index(
    postgres_stores: MetadataStores, text: str, index: str
) -> None:
    found = plan(postgres_stores, text)
    lines = [line for line in found.splitlines() if "Index" in line and index in line]
    assert lines, found
    assert "Index Cond" in found


@pytest.mark.needs("postgresql")
@pytest.mark.parametrize(
    "condition",
    ["CONTAINS(POINT(62, -37), s_region)", "INTERSECTS(CIRCLE(62, -37, 0.1), s_region)"],
)
def test_postgres_reads_no_other_index_beside_that_of_regions(
    fresh_postgres_url: str, condition: str
) -> None:
    stores = open_stores(fresh_postgres_url)
    stores.datasets.upsert(dataset(n, lsst_band="ugrizy"[n % 6]) for n in range(6000))
    text = f"SELECT * FROM {T} WHERE {condition} = 1 AND lsst_band = 'i' AND calib_level = 2"
    found = plan(stores, text)
    stores.close()
    assert "Index Scan using obscore_s_region_outline" in found
    assert "BitmapAnd" not in found


@pytest.mark.parametrize("engine", ["sqlite", pytest.param("postgres", marks=POSTGRES)])
def test_targets_are_found_by_name_in_any_case(request: pytest.FixtureRequest, engine: str) -> None:
    stores: MetadataStores = request.getfixturevalue(f"{engine}_stores")
    text = f"SELECT TOP 9 s_ra FROM {T} WHERE LOWER(target_name) = LOWER('NGC 1') AND s_ra > 0"
    assert "obscore_target_name_folded" in plan(stores, text)


@pytest.mark.needs("postgresql")
@pytest.mark.parametrize("text", [text for text, _ in SEARCHES])
def test_the_answer_is_one(
    sqlite_stores: MetadataStores, postgres_stores: MetadataStores, text: str
) -> None:
    here, there = (sorted(ask(each, text, 10_000)) for each in (sqlite_stores, postgres_stores))
    assert here == there


@pytest.mark.parametrize("inner", KEPT)
@pytest.mark.parametrize(
    "condition", ["DISTANCE(s_ra, 0, 62, 0) < 9", "CONTAINS(POINT(62, -37), s_region) = 1"]
)
def test_a_cut_comes_before_the_condition(
    sqlite_stores: MetadataStores, inner: str, condition: str
) -> None:
    outside = f"SELECT obs_id FROM ({inner}) AS d WHERE {condition}"
    matching = ask(sqlite_stores, f"SELECT obs_id FROM {T} WHERE {condition}", 10_000)
    rows = [(name,) for name, *_ in ask(sqlite_stores, inner, 10_000)]
    expected = [row for row in rows if row in matching]
    assert sorted(ask(sqlite_stores, outside, 10_000)) == sorted(expected)


def test_a_condition_on_an_aggregate_comes_after_it(sqlite_stores: MetadataStores) -> None:
    means = f"SELECT AVG(s_ra) AS lon, AVG(s_dec) AS lat FROM {T} GROUP BY obs_collection"
    inside = f"SELECT COUNT(*) FROM ({means}) AS d WHERE DISTANCE(lon, lat, 0, 0) < 180"
    assert ask(sqlite_stores, inside, 10) == [(len(ask(sqlite_stores, means, 100)),)]


def upload_queries(condition: str) -> list[str]:
    """The join written in either order, and as a condition."""
    return [
        f"SELECT o.obs_id, u.ra FROM TAP_UPLOAD.u JOIN {T} AS o ON {condition}",
        f"SELECT o.obs_id, u.ra FROM {T} AS o JOIN TAP_UPLOAD.u ON {condition}",
        f"SELECT o.obs_id, u.ra FROM {T} AS o, TAP_UPLOAD.u WHERE {condition}",
    ]


@pytest.mark.parametrize(("condition", "index"), UPLOAD_JOINS)
def test_sqlite_searches_the_large_table_for_each_uploaded_row(
    sqlite_stores: MetadataStores, condition: str, index: str
) -> None:
    for text in upload_queries(condition):
        found = plan(sqlite_stores, text, upload())
        assert f"{index}" in found and "VIRTUAL TABLE INDEX 2:" in found
        assert "USING INTEGER PRIMARY KEY (rowid=?)" in found


@pytest.mark.needs("postgresql")
@pytest.mark.parametrize(("condition", "index"), UPLOAD_JOINS)
def test_postgres_searches_the_large_table_for_each_uploaded_row(
    postgres_stores: MetadataStores, condition: str, index: str
) -> None:
    for text in upload_queries(condition):
        found = plan(postgres_stores, text, upload())
        assert [line for line in found.splitlines() if "Index" in line and index in line], found


@pytest.mark.needs("postgresql")
@pytest.mark.parametrize("condition", [condition for condition, _ in UPLOAD_JOINS])
def test_joins_with_an_upload_have_one_answer(
    sqlite_stores: MetadataStores, postgres_stores: MetadataStores, condition: str
) -> None:
    positions = upload()
    answers = [
        sorted(ask(stores, text, 100_000, positions))
        for stores in (sqlite_stores, postgres_stores)
        for text in upload_queries(condition)
    ]
    assert answers[0] and all(answer == answers[0] for answer in answers)

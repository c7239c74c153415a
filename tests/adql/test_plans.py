"""Both engines search by their spatial indexes wherever a spatial condition stands."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from app.adql.compile import compile_query
from app.schema.catalog import CATALOG
from app.stores.metadata import MetadataStores
from tests.adql.conftest import ask

T = "ivoa.ObsCore"

REGION = "obscore_s_region"
POSITION = "obscore_s_ra"

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
]


def plan(stores: MetadataStores, text: str) -> str:
    """How the engine means to find the rows; PostgreSQL with scans of whole tables priced out."""
    query = compile_query(text, catalog=CATALOG, target=stores.tables.target, maxrec=10_000)
    sqlite = stores.engine.dialect.name == "sqlite"
    with stores.engine.connect() as connection:
        if not sqlite:
            connection.execute(sa.text("SET LOCAL enable_seqscan = off"))
        explain = "EXPLAIN QUERY PLAN" if sqlite else "EXPLAIN"
        rows = connection.execute(sa.text(f"{explain} {query.sql}"), dict(query.binds))
        return "\n".join(str(row) for row in rows)


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
@pytest.mark.parametrize("text", [text for text, _ in SEARCHES])
def test_the_answer_is_one(
    sqlite_stores: MetadataStores, postgres_stores: MetadataStores, text: str
) -> None:
    here, there = (sorted(ask(s, text, 10_000)) for s in (sqlite_stores, postgres_stores))
    assert here == there

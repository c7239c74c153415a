"""Pairs of text, the shape of the answer, and what the indexes are given."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from app.adql.compile import compile_query
from app.adql.compiled import CompiledQuery, Target
from app.schema.catalog import CATALOG
from app.stores.metadata import MetadataStores

T = "ivoa.ObsCore"


def run(text: str, target: Target = "sqlite", maxrec: int = 100, **options: Any) -> CompiledQuery:
    return compile_query(text, catalog=CATALOG, target=target, maxrec=maxrec, **options)


PAIRS: list[tuple[str, str, str]] = [
    (
        f"SELECT s_ra AS ra FROM {T} WHERE calib_level = 2 ORDER BY s_dec DESC",
        'SELECT t1."s_ra" AS c1 FROM "obscore" AS t1 WHERE (t1."calib_level" = :p1)'
        ' ORDER BY t1."s_dec" DESC NULLS FIRST LIMIT 101',
        'SELECT t1."s_ra" AS c1 FROM "obscore" AS t1'
        ' WHERE (t1."calib_level" = CAST(:p1 AS bigint))'
        ' ORDER BY t1."s_dec" DESC NULLS FIRST LIMIT 101',
    ),
    (
        f"SELECT TOP 3 obs_title FROM {T} WHERE obs_title LIKE 'a%' OFFSET 7",
        'SELECT t1."obs_title" AS c1 FROM "obscore" AS t1 WHERE (t1."obs_title" GLOB :p1)'
        " LIMIT 3 OFFSET 7",
        'SELECT t1."obs_title" AS c1 FROM "obscore" AS t1'
        " WHERE (t1.\"obs_title\" LIKE CAST(:p1 AS text) ESCAPE '') LIMIT 3 OFFSET 7",
    ),
    (
        "SELECT s_ra - s_dec - 1 FROM ivoa.obscore",
        'SELECT (t1."s_ra" - t1."s_dec" - :p1) AS c1 FROM "obscore" AS t1 LIMIT 101',
        'SELECT ((t1."s_ra" - t1."s_dec") - CAST(:p1 AS double precision)) AS c1'
        ' FROM "obscore" AS t1 LIMIT 101',
    ),
    (
        "SELECT lsst_band, COUNT(*) FROM ivoa.obscore GROUP BY lsst_band HAVING COUNT(*) > 1",
        'SELECT t1."lsst_band" AS c1, COUNT(*) AS c2 FROM "obscore" AS t1'
        ' GROUP BY t1."lsst_band" HAVING (COUNT(*) > :p1) LIMIT 101',
        'SELECT t1."lsst_band" AS c1, count(*) AS c2 FROM "obscore" AS t1'
        ' GROUP BY t1."lsst_band" HAVING (count(*) > CAST(:p1 AS bigint)) LIMIT 101',
    ),
    (
        f"SELECT obs_id FROM {T} WHERE 1 = CONTAINS(POINT('', s_ra, s_dec), CIRCLE(10, 20, 1))",
        'SELECT t1."obs_id" AS c1 FROM "obscore" AS t1 WHERE (t1."row_id" IN'
        ' (SELECT row_id FROM "obscore_s_ra_position" WHERE x_min <= :p2 AND x_max >= :p1'
        " AND y_min <= :p4 AND y_max >= :p3 AND z_min <= :p6 AND z_max >= :p5)"
        ' AND adql_contains_point(adql_outline(:p7), t1."s_ra", t1."s_dec") = 1) LIMIT 101',
        'SELECT t1."obs_id" AS c1 FROM "obscore" AS t1 WHERE'
        ' ((point(CAST(t1."s_ra" AS double precision) - 360 * floor('
        'CAST(t1."s_ra" AS double precision) / 360), CAST(t1."s_dec" AS double precision)) <@'
        " adql_reach(CAST(:p1 AS double precision), CAST(:p2 AS double precision),"
        " CAST(:p3 AS double precision), 0)"
        ' OR point(CAST(t1."s_ra" AS double precision) - 360 * floor('
        'CAST(t1."s_ra" AS double precision) / 360), CAST(t1."s_dec" AS double precision)) <@'
        " adql_reach(CAST(:p1 AS double precision), CAST(:p2 AS double precision),"
        " CAST(:p3 AS double precision), 1))"
        ' AND adql_near(t1."s_ra", t1."s_dec", CAST(:p1 AS double precision),'
        " CAST(:p2 AS double precision), CAST(:p3 AS double precision))"
        ' AND t1."s_dec" BETWEEN -90 AND 90) LIMIT 101',
    ),
    (
        f"SELECT obs_id FROM {T} WHERE CONTAINS(POINT(s_ra, s_dec), CIRCLE(10, 20, 1)) = 0",
        'SELECT t1."obs_id" AS c1 FROM "obscore" AS t1 WHERE'
        ' (NOT (adql_contains_point(adql_outline(:p1), t1."s_ra", t1."s_dec") = 1)) LIMIT 101',
        'SELECT t1."obs_id" AS c1 FROM "obscore" AS t1 WHERE (NOT (CASE WHEN t1."s_dec" BETWEEN -90'
        ' AND 90 THEN adql_near(t1."s_ra", t1."s_dec", CAST(:p1 AS double precision),'
        " CAST(:p2 AS double precision), CAST(:p3 AS double precision)) END)) LIMIT 101",
    ),
    (
        f"SELECT a.obs_id FROM {T} a LEFT JOIN skyloom.product_input b ON b.input_id = a.obs_id",
        'SELECT t1."obs_id" AS c1 FROM "obscore" AS t1 LEFT JOIN "product_input" AS t2'
        ' ON (t2."input_id" = t1."obs_id") LIMIT 101',
        'SELECT t1."obs_id" AS c1 FROM "obscore" AS t1 LEFT JOIN "product_input" AS t2'
        ' ON (t2."input_id" = t1."obs_id") LIMIT 101',
    ),
]


@pytest.mark.parametrize(("adql", "sqlite", "postgres"), PAIRS)
def test_pairs(adql: str, sqlite: str, postgres: str) -> None:
    assert run(adql, "sqlite").sql == sqlite
    assert run(adql, "postgres").sql == postgres


@pytest.mark.parametrize("target", ["sqlite", "postgres"])
def test_no_text_of_the_user_gets_into_the_statement(target: Target) -> None:
    text = (
        f'SELECT obs_id AS "x:y""; DROP", \':a\'\' --\' FROM {T} AS "evil:name"'
        " WHERE obs_title LIKE '%:b%' OR obs_title = '; DROP TABLE job'"
    )
    query = run(text, target)
    for word in ("evil", "DROP", "x:y", "--"):
        assert word not in query.sql
    named = set(sa.text(query.sql).compile().params)
    assert named == set(query.binds)
    assert [field.name for field in query.fields] == ['x:y"; DROP', "expression"]


@pytest.mark.parametrize(
    ("top", "maxrec", "limit"),
    [
        ("", 10, 11),
        ("TOP 5", 10, 5),
        ("TOP 10", 10, 10),
        ("TOP 50", 10, 11),
        ("TOP 0", 10, 0),
        ("", 0, 1),
    ],
)
def test_one_row_beyond_maxrec_is_fetched(top: str, maxrec: int, limit: int) -> None:
    assert run(f"SELECT {top} s_ra FROM {T}", maxrec=maxrec).sql.endswith(f"LIMIT {limit}")


def test_fields_keep_what_the_catalog_says() -> None:
    fields = run(f"SELECT S_RA, s_dec AS Decl, access_url, s_region FROM {T} AS o").fields
    assert [field.name for field in fields] == ["s_ra", "Decl", "access_url", "s_region"]
    assert (fields[1].unit, fields[1].ucd) == ("deg", "pos.eq.dec")
    assert fields[2].prefix_bind is None
    assert fields[3].xtype == "adql:REGION"


def test_fields_of_expressions() -> None:
    text = (
        f"SELECT COUNT(*), COUNT(s_ra), MAX(s_ra) AS peak, s_ra*2, 1, 'x', POINT(1,2) AS p,"
        f" CIRCLE(1,2,3) AS c, BOX(1,2,3,4) AS b, DISTANCE(1,2,3,4) FROM {T} GROUP BY s_ra"
    )
    found = [(f.name, f.kind, f.datatype, f.arraysize, f.xtype, f.unit) for f in run(text).fields]
    assert found == [
        ("count", "integer", "long", None, None, None),
        ("count_2", "integer", "long", None, None, None),
        ("peak", "real", "double", None, None, "deg"),
        ("expression", "real", "double", None, None, "deg"),
        ("expression_2", "integer", "long", None, None, None),
        ("expression_3", "text", "char", "*", None, None),
        ("p", "point", "double", "2", "point", "deg"),
        ("c", "region", "double", "3", "circle", "deg"),
        ("b", "region", "double", "*", "polygon", "deg"),
        ("distance", "real", "double", None, None, None),
    ]


def test_star_is_every_public_column() -> None:
    table = CATALOG.by_name()["ivoa.obscore"]
    assert [f.name for f in run(f"SELECT * FROM {T}").fields] == [f.name for f in table.fields]


def test_using_joins_columns_into_one() -> None:
    text = "SELECT * FROM tap_schema.columns JOIN tap_schema.tables USING (table_name)"
    names = [field.name for field in run(text).fields]
    assert names[0] == "table_name"
    assert names.count("table_name") == 1
    assert "description_2" in names


def test_prefix_is_a_bind() -> None:
    query = run(f"SELECT access_url FROM {T}", prefixes={"service_url": "https://x.org"})
    assert query.binds == {"service_url": "https://x.org"}


def plan(stores: MetadataStores, text: str, explain: str) -> str:
    query = run(text, stores.tables.target)
    with stores.engine.connect() as connection:
        connection.execute(sa.text("SELECT 1"))
        if explain == "EXPLAIN":
            connection.execute(sa.text("SET enable_seqscan = off"))
        rows = connection.execute(sa.text(f"{explain} {query.sql}"), dict(query.binds))
        return "\n".join(str(row) for row in rows)


SEARCHES = [
    ("CONTAINS(POINT(62, -37), s_region) = 1", "obscore_s_region_outline"),
    ("INTERSECTS(CIRCLE(62, -37, 0.2), s_region) = 1", "obscore_s_region_outline"),
    ("1 = INTERSECTS(s_region, POLYGON(1,1, 2,1, 2,2)) AND calib_level = 2", "s_region_outline"),
    ("CONTAINS(POINT(s_ra, s_dec), CIRCLE(62, -37, 0.2)) = 1", "s_ra"),
    ("DISTANCE(POINT(s_ra, s_dec), POINT(62, -37)) < 0.2", "s_ra"),
    ("DISTANCE(62, -37, s_ra, s_dec) <= 0.2", "s_ra"),
]


@pytest.mark.parametrize("condition", [search[0] for search in SEARCHES[:3]])
def test_sqlite_searches_by_the_tree(sqlite_stores: MetadataStores, condition: str) -> None:
    text = f"SELECT obs_id FROM {T} WHERE {condition}"
    found = plan(sqlite_stores, text, "EXPLAIN QUERY PLAN")
    assert "VIRTUAL TABLE INDEX" in found
    # Without statistics SQLite takes any equality with an index to be the narrower one.
    assert "SEARCH t1 USING INTEGER PRIMARY KEY" in found or "calib_level=?" in found


@pytest.mark.needs("postgresql")
@pytest.mark.parametrize(("condition", "index"), SEARCHES)
def test_postgres_searches_by_its_indexes(
    postgres_stores: MetadataStores, condition: str, index: str
) -> None:
    found = plan(postgres_stores, f"SELECT obs_id FROM {T} WHERE {condition}", "EXPLAIN")
    assert "Index Cond" in found
    assert index in found


AROUND = [
    "SELECT k FROM (SELECT obs_id AS k, s_region AS r FROM {t}) AS d WHERE"
    " CONTAINS(POINT(62, -37), r) = 1",
    "WITH w AS (SELECT * FROM {t} WHERE calib_level = 2) SELECT obs_id FROM w WHERE"
    " INTERSECTS(CIRCLE(62, -37, 0.2), s_region) = 1",
    "SELECT COUNT(*) FROM tap_schema.tables WHERE EXISTS (SELECT 1 FROM {t} WHERE"
    " CONTAINS(POINT(62, -37), s_region) = 1)",
    "SELECT p FROM (SELECT POINT(s_ra, s_dec) AS p FROM {t}) AS d WHERE"
    " DISTANCE(p, POINT(62, -37)) < 0.2",
]


@pytest.mark.parametrize("text", AROUND)
def test_sqlite_searches_by_the_tree_through_subqueries(
    sqlite_stores: MetadataStores, text: str
) -> None:
    found = plan(sqlite_stores, text.format(t=T), "EXPLAIN QUERY PLAN")
    assert "VIRTUAL TABLE INDEX" in found


@pytest.mark.needs("postgresql")
@pytest.mark.parametrize("text", AROUND)
def test_postgres_searches_by_its_indexes_through_subqueries(
    postgres_stores: MetadataStores, text: str
) -> None:
    found = plan(postgres_stores, text.format(t=T), "EXPLAIN")
    assert "Index Cond" in found

"""Statistics make SQLite take the spatial index; both engines can refresh them."""

from __future__ import annotations

import sqlalchemy as sa

from app.adql.compile import compile_query
from app.schema.catalog import CATALOG
from app.stores.metadata import MetadataStores, open_stores
from app.stores.tables.published import PublishedStore
from tests.stores.contract import dataset

QUERY = (
    "SELECT obs_id FROM ivoa.ObsCore "
    "WHERE CONTAINS(POINT(10.5, -19.9), s_region) = 1 AND calib_level = 2"
)


def test_the_spatial_index_is_taken_once_statistics_are_fresh(stores: MetadataStores) -> None:
    stores.datasets.upsert(dataset(number) for number in range(2000))
    stores.datasets.refresh_statistics()
    query = compile_query(QUERY, catalog=CATALOG, target=stores.tables.target, maxrec=10)
    sqlite = stores.tables.target == "sqlite"
    explain = "EXPLAIN QUERY PLAN" if sqlite else "EXPLAIN"
    with stores.engine.connect() as connection:
        rows = connection.execute(sa.text(f"{explain} {query.sql}"), dict(query.binds))
        plan = "\n".join(str(row) for row in rows)
    assert ("USING INTEGER PRIMARY KEY" if sqlite else "obscore_s_region_outline") in plan


def test_sqlite_takes_the_spatial_index_before_it_has_statistics(fresh_sqlite_url: str) -> None:
    stores = open_stores(fresh_sqlite_url)
    stores.datasets.upsert(dataset(number) for number in range(20))
    query = compile_query(
        f"{QUERY} AND lsst_band = 'i' AND obs_collection = 'x'",
        catalog=CATALOG,
        target="sqlite",
        maxrec=10,
    )
    with stores.engine.connect() as connection:
        rows = connection.execute(sa.text(f"EXPLAIN QUERY PLAN {query.sql}"), dict(query.binds))
        plan = "\n".join(str(row) for row in rows)
    stores.close()
    assert "USING INTEGER PRIMARY KEY" in plan


def test_groups_are_counted_from_an_index_alone_once_rows_were_loaded(
    fresh_postgres_url: str,
) -> None:
    postgres = open_stores(fresh_postgres_url)
    with PublishedStore(engine=postgres.engine).loading():  # as the command that loads rows does
        postgres.datasets.upsert(dataset(number) for number in range(2000))
        with postgres.engine.begin() as connection:  # the servers of tests do not wait for the disk
            connection.exec_driver_sql("SET LOCAL synchronous_commit = on")
            connection.exec_driver_sql("CREATE TABLE flushed (x int)")
        postgres.datasets.refresh_statistics()
    query = compile_query(
        "SELECT dataproduct_subtype, COUNT(*) AS n FROM ivoa.ObsCore GROUP BY dataproduct_subtype",
        catalog=CATALOG,
        target="postgres",
        maxrec=10,
    )
    with postgres.engine.connect() as connection:
        connection.exec_driver_sql("SET enable_seqscan = off")
        rows = connection.execute(sa.text(f"EXPLAIN (ANALYZE) {query.sql}"), dict(query.binds))
        plan = "\n".join(str(row) for row in rows)
    postgres.close()
    assert "Index Only Scan" in plan
    assert "Heap Fetches: 0" in plan

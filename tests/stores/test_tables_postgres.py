"""PostgreSQL with pgSphere passes the suites of tables and datasets."""

from __future__ import annotations

import pytest

from app.errors import StoreUnavailableError
from app.stores.metadata import MetadataStores
from tests.postgres import PostgresServer
from tests.stores.contract import (
    COUNTING,
    DatasetStoreContract,
    PublishContract,
    TableStoreContract,
    dataset,
    execute,
    field,
    query,
    unreachable,
)


@pytest.fixture
def database_url(fresh_postgres_url: str) -> str:
    """PostgreSQL only."""
    return fresh_postgres_url


class TestTables(TableStoreContract):
    overflow_sql = "SELECT CAST(9223372036854775807 AS bigint) + 1 AS n"

    def test_a_connection_that_is_cut_is_told_and_replaced(self, stores: MetadataStores) -> None:
        asked = query(stores, COUNTING + "SELECT n FROM c", [field("n", "integer")], last=10**15)
        stream = stores.tables.stream(asked, batch_rows=10)
        next(stream)
        execute(
            stores,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name = 'skyloom' AND pid <> pg_backend_pid()",
        )
        with pytest.raises(StoreUnavailableError):
            for _ in stream:
                pass
        stores.tables.ping()
        assert stores.datasets.upsert([dataset(1)]).inserted == 1


class TestDatasets(DatasetStoreContract):
    def around(self, stores: MetadataStores, lon_deg: float, lat_deg: float) -> set[str]:
        rows = execute(
            stores,
            "SELECT obs_id FROM obscore WHERE s_region_spoly @> "
            "spoint(radians(CAST(:lon AS float8)), radians(CAST(:lat AS float8)))",
            lon=lon_deg,
            lat=lat_deg,
        )
        return {str(row[0]) for row in rows}

    def test_both_spatial_searches_use_their_index(self, stores: MetadataStores) -> None:
        stores.datasets.upsert([dataset(n) for n in range(1200)])
        with stores.engine.connect() as connection:
            connection.exec_driver_sql("ANALYZE obscore")
            connection.exec_driver_sql("SET enable_seqscan = off")
            for condition, index in (
                ("s_region_spoly @> spoint(0.17, -0.35)", "obscore_s_region_spoly"),
                (
                    "spoint(radians(s_ra), radians(s_dec)) <@ scircle(spoint(0.17, -0.35), 0.001)",
                    "obscore_s_ra_s_dec",
                ),
            ):
                plan = connection.exec_driver_sql(
                    f"EXPLAIN SELECT obs_id FROM obscore WHERE {condition}"
                )
                assert any(index in row[0] for row in plan)


class TestPublish(PublishContract):
    pass


def test_a_server_that_is_not_there_is_unavailable() -> None:
    unreachable("postgresql://nobody@127.0.0.1:1/nothing")


def test_a_database_that_is_not_there_is_unavailable(postgres_server: PostgresServer) -> None:
    unreachable(postgres_server.url_of("skyloom_no_such_database"))

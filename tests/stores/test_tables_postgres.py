"""PostgreSQL passes the suites of tables and datasets."""

from __future__ import annotations

import pytest

from app.adql.compile import compile_query
from app.adql.spatial_index import plane_position
from app.errors import StoreUnavailableError
from app.schema.catalog import CATALOG
from app.stores.metadata import MetadataStores
from app.stores.postgres_native import SWITCH, native_libpq
from app.stores.postgres_native_reader import numbered
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


class TestTablesByPsycopg(TestTables):
    """Without libpq's C functions every answer is the same."""

    @pytest.fixture(autouse=True)
    def switched_off(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """As with a psycopg whose libpq cannot be reached."""
        monkeypatch.setenv(SWITCH, "off")
        assert native_libpq() is None


ODD = """
SELECT * FROM (VALUES
  (CAST(1 AS bigint), CAST(0.1 AS double precision), true, CAST('text' AS text)),
  (NULL, NULL, NULL, NULL), (-9223372036854775808, 3, false, ''),
  (9223372036854775807, 1e308, true, 'Straße 🙂'), (-1, '-0', false, 'a''b')) AS v(n, x, flag, t)
UNION ALL SELECT 1, 'NaN', true, repeat('é', 20000) UNION ALL SELECT 2, '-Infinity', false, 'x'
"""


def read_all(
    stores: MetadataStores, sql: str, kinds: str = "integer real boolean text", size: int = 10_000
) -> list[dict[str, object]]:
    """The rows of a statement as fields ``c0 …`` of the kinds."""
    fields = [field(f"c{number}", kind) for number, kind in enumerate(kinds.split())]
    batches = list(stores.tables.stream(query(stores, sql, fields), batch_rows=size))
    for batch in batches:
        batch.validate(full=True)
    return [row for batch in batches for row in batch.to_pylist()]


@pytest.mark.parametrize("size", [1, 3, 100])
def test_rows_come_alike_by_compiled_code(
    stores: MetadataStores, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    sql = f"SELECT o.* FROM generate_series(1, 100), ({ODD}) AS o"
    assert native_libpq() is not None
    by_machine = read_all(stores, sql, size=size)
    monkeypatch.setenv(SWITCH, "off")
    assert repr(by_machine) == repr(read_all(stores, sql, size=size))
    assert len(by_machine) == 700


@pytest.mark.parametrize(
    ("value", "kind", "found"),
    [
        ("CAST(-7 AS smallint)", "integer", -7),
        ("CAST(-70000 AS integer)", "integer", -70000),
        ("CAST(-70000 AS integer)", "real", -70000.0),
        ("CAST(0.5 AS real)", "real", 0.5),
        ("CAST(-2.75 AS double precision)", "integer", -2),
        ("CAST(12345678901234567.5 AS numeric)", "integer", 12345678901234567),
        ("CAST(0.1 AS numeric)", "real", 0.1),
        ("CAST(5 AS bigint)", "text", "5"),
        ("CAST(1 AS bigint)", "boolean", True),
        ("CAST('a' AS varchar)", "text", "a"),
        ("CAST('a ' AS char(3))", "text", "a  "),
        ("CAST('2026-01-02' AS date)", "text", "2026-01-02"),
    ],
)
def test_values_of_any_type_are_converted_alike(
    stores: MetadataStores, monkeypatch: pytest.MonkeyPatch, value: str, kind: str, found: object
) -> None:
    assert read_all(stores, f"SELECT {value}", kind) == [{"c0": found}]
    monkeypatch.setenv(SWITCH, "off")
    assert read_all(stores, f"SELECT {value}", kind) == [{"c0": found}]


def test_queries_are_not_compiled_by_the_server(stores: MetadataStores) -> None:
    assert execute(stores, "SELECT current_setting('jit')") == [("off",)]


def test_binds_are_numbered_where_they_stand() -> None:
    sql = "SELECT ':a', \"b:c\", CAST(:a AS text), 'x'::text, 'it''s :b', :b, :a"
    expected = "SELECT ':a', \"b:c\", CAST($1 AS text), 'x'::text, 'it''s :b', $2, $1"
    assert numbered(sql) == (expected, ("a", "b"))


class TestDatasets(DatasetStoreContract):
    def around(self, stores: MetadataStores, lon_deg: float, lat_deg: float) -> set[str]:
        text = (
            f"SELECT obs_id FROM ivoa.ObsCore WHERE 1 = CONTAINS(POINT({lon_deg}, {lat_deg}),"
            " s_region)"
        )
        asked = compile_query(text, catalog=CATALOG, target="postgres", maxrec=10_000)
        rows = execute(stores, asked.sql, **asked.binds)
        return {str(row[0]) for row in rows}

    def test_both_spatial_searches_use_their_index(self, stores: MetadataStores) -> None:
        stores.datasets.upsert([dataset(n) for n in range(1200)])
        with stores.engine.connect() as connection:
            connection.exec_driver_sql("ANALYZE obscore")
            connection.exec_driver_sql("SET enable_seqscan = off")
            for condition, index in (
                ("s_region_bounds && adql_reach(9.7, -20.0, 0, 0)", "obscore_s_region_outline"),
                (
                    f"{plane_position('s_ra', 's_dec')} <@ adql_reach(9.7, -20.0, 0.06, 0)",
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

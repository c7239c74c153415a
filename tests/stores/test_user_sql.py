"""A statement that reaches the database as a user's cannot write, nor read what is the service's
own, even if the ADQL compiler had let it through."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pytest
import sqlalchemy as sa

from app.adql.compiled import CompiledQuery
from app.errors import ServiceError
from app.schema.fields import Field, Table
from app.schema.uploads import UploadedTable
from app.stores.database import read_transaction, write_transaction
from app.stores.metadata import MetadataStores, open_stores
from app.stores.postgres_roles import Reader, ensure_reader, reader_is_usable
from app.stores.tables.catalog_store import PublishedTable
from app.stores.tables.published import PublishedStore
from tests.stores.contract import dataset, new_job

ANYWHERE = (
    "SELECT parameters FROM job",
    "SELECT digest FROM access_token",
    "SELECT version_num FROM alembic_version",
    "SELECT (SELECT max(job_id) FROM job) FROM obscore",
    "SELECT obs_id FROM obscore UNION SELECT job_id FROM job",
    "WITH t AS (SELECT * FROM job) SELECT count(*) FROM t",
    "DELETE FROM obscore",
    "UPDATE obscore SET obs_id = 'x' RETURNING obs_id",
    "INSERT INTO job (job_id) VALUES ('x')",
    "DROP TABLE obscore",
    "CREATE TABLE mine (x integer)",
    "CREATE TEMPORARY TABLE mine (x integer)",
)
ON_SQLITE = (
    "SELECT sql FROM sqlite_master",
    "PRAGMA table_list",
    "PRAGMA query_only = OFF",
    "ATTACH '/tmp/faults-attached.sqlite3' AS other",
    "VACUUM",
    "SELECT load_extension('x')",
    "DELETE FROM obscore_s_region_outline",
    "DELETE FROM obscore_s_region_outline_node",
)
HIDDEN = (
    "SELECT file_path FROM obscore",
    "SELECT obs_id FROM obscore WHERE image_ref LIKE '%'",
    "SELECT coalesce(file_path, image_ref) FROM (SELECT * FROM obscore) AS every",
)
ON_POSTGRES = (
    "SELECT * FROM obscore",
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT lo_import('/etc/passwd')",
    "COPY obscore TO '/tmp/out'",
    "COPY (SELECT 1) TO PROGRAM 'true'",
    "WITH gone AS (DELETE FROM obscore RETURNING obs_id) SELECT * FROM gone",
    "SELECT query_to_xml('SELECT * FROM job', true, false, '')",
    "SELECT query_to_xml('DELETE FROM obscore', true, false, '')",
    "SELECT usename FROM pg_shadow",
    "SELECT nextval('obscore_row_id_seq')",
    "SELECT 1; DELETE FROM obscore",
    "CREATE ROLE intruder",
    "SET TRANSACTION READ WRITE",
)


@pytest.fixture(params=["on", "off"])
def ready(
    request: pytest.FixtureRequest, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[MetadataStores]:
    """One dataset, one job; rows are read by compiled code, and by Python."""
    for name in ("SQLITE", "POSTGRES"):
        monkeypatch.setenv(f"SKYLOOM_{name}_NATIVE", request.param)
    opened = open_stores(database_url)
    opened.datasets.upsert([dataset(1)])
    opened.jobs.add(new_job("secret"))
    yield opened
    opened.close()


def run(stores: MetadataStores, sql: str, uploads: tuple[UploadedTable, ...] = ()) -> list[str]:
    """What a statement answers, by the way that queries of users take."""
    field = Field(name="x", kind="text", datatype="char", arraysize="*")
    query = CompiledQuery(
        sql=sql, binds={}, fields=(field,), maxrec=10, target=stores.tables.target
    )
    batches = stores.tables.stream(query, uploads=uploads, time_limit_s=20)
    return [str(value) for batch in batches for value in batch.column(0).to_pylist()]


def contents(stores: MetadataStores) -> tuple[list[str], list[str]]:
    """Datasets and jobs."""
    with read_transaction(stores.engine) as connection:
        return (
            list(connection.scalars(sa.text("SELECT obs_id FROM obscore"))),
            list(connection.scalars(sa.text("SELECT job_id FROM job"))),
        )


def test_nothing_is_written_and_nothing_internal_is_read(ready: MetadataStores) -> None:
    sqlite = ready.engine.dialect.name == "sqlite"
    before = contents(ready)
    for sql in (*ANYWHERE, *(ON_SQLITE if sqlite else ON_POSTGRES)):
        try:
            answer = run(ready, sql)
        except ServiceError:
            continue
        assert answer in ([], ["None"]) and not sql.startswith("SELECT"), (sql, answer)
    assert contents(ready) == before
    assert run(ready, "SELECT obs_id FROM obscore") == ["image-0001"]
    tables = sa.inspect(ready.engine).get_table_names()
    assert "obscore" in tables and "mine" not in tables


def test_columns_of_the_service_tell_nothing(ready: MetadataStores) -> None:
    for sql in HIDDEN:
        try:
            answer = run(ready, sql)
        except ServiceError:
            assert ready.engine.dialect.name == "postgresql", sql
        else:
            assert answer in ([], ["None"]), sql
    nested = "(obscore AS b LEFT JOIN (SELECT 1 AS k) AS c ON c.k = b.calib_level)"
    joined = f"SELECT a.obs_id FROM obscore AS a JOIN {nested} ON a.obs_id = b.obs_id"
    assert run(ready, joined) == ["image-0001"]


def test_what_one_statement_sets_the_next_does_not_find(ready: MetadataStores) -> None:
    for sql in (
        "SET ROLE NONE",
        "RESET ROLE",
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE",
        "SELECT set_config('role', 'none', false)",
        "SELECT set_config('default_transaction_read_only', 'off', false)",
        "COMMIT",
    ):
        for follow in ("SELECT job_id FROM job", "DELETE FROM obscore RETURNING obs_id"):
            for each in (sql, follow):
                try:
                    answer = run(ready, each)
                except ServiceError:
                    continue
                assert "secret" not in answer and answer != ["image-0001"], (sql, each)
    assert contents(ready) == (["image-0001"], ["secret"])


def test_uploads_are_read_and_stay_out_of_reach_of_writes(ready: MetadataStores) -> None:
    field = Field(name="x", kind="text", datatype="char", arraysize="*")
    table = Table(
        schema_name="TAP_UPLOAD", name="TAP_UPLOAD.mine", physical="upload_mine", fields=(field,)
    )
    upload = UploadedTable(table=table, rows=pa.table({"x": ["a", "b"]}))
    assert run(ready, "SELECT x FROM upload_mine", (upload,)) == ["a", "b"]
    with pytest.raises(ServiceError):
        run(ready, "SELECT job_id FROM job, upload_mine", (upload,))
    with pytest.raises(ServiceError):
        run(ready, "DELETE FROM upload_mine RETURNING x", (upload,))


def test_a_table_that_is_published_can_be_read_at_once(ready: MetadataStores) -> None:
    store = PublishedStore(engine=ready.engine)
    field = Field(name="x", kind="text", datatype="char", arraysize="*")
    made = Table(schema_name="mine", name="mine.stars", physical="", fields=(field,))
    batch = pa.RecordBatch.from_pydict({"x": ["sirius"]})
    with store.loading():
        table, rows = store.create(made, [batch], on_rows=lambda _rows: None)
        store.publish(
            PublishedTable(table=table, rows=rows, source="stars.csv", published="2026-01-01")
        )
    assert run(ready, f'SELECT x FROM "{table.physical}"') == ["sirius"]


def test_a_role_that_is_missing_is_said_and_queries_still_cannot_write(
    fresh_postgres_url: str,
) -> None:
    admin = open_stores(fresh_postgres_url)
    with write_transaction(admin.engine) as connection:
        connection.exec_driver_sql("CREATE ROLE modest LOGIN")
        for table in sa.inspect(connection).get_table_names():
            connection.exec_driver_sql(f'ALTER TABLE "{table}" OWNER TO modest')
    url = sa.make_url(fresh_postgres_url).set(username="modest")
    stores = open_stores(url.render_as_string(hide_password=False), reader_role="no_such_reader")
    try:
        stores.datasets.upsert([dataset(1)])
        refused = ensure_reader(stores.engine, "no_such_reader", ())
        assert refused is not None and "CREATE ROLE no_such_reader" in refused
        assert not reader_is_usable(stores.engine, "no_such_reader")
        assert Reader(stores.engine, "no_such_reader").name() is None
        assert run(stores, "SELECT obs_id FROM obscore") == ["image-0001"]
        with pytest.raises(ServiceError):
            run(stores, "DELETE FROM obscore RETURNING obs_id")
    finally:
        stores.close()
        with write_transaction(admin.engine) as connection:
            connection.exec_driver_sql("REASSIGN OWNED BY modest TO CURRENT_USER")
            connection.exec_driver_sql("DROP OWNED BY modest")
            connection.exec_driver_sql("DROP ROLE modest")
        admin.close()

"""The migrations make the tables the program works with, on both engines, as often as asked."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from app.adql.spatial_index import RegionColumns
from app.errors import StoreUnavailableError
from app.schema.catalog import CATALOG
from app.schema.rows import ProductQuality
from app.schema.tap_schema import tap_schema_rows
from app.services.setup import init_database
from app.stores.database import open_engine, write_transaction
from app.stores.metadata import MetadataStores
from app.stores.migrations import current_revision, head_revision, migrations_dir, upgrade
from app.stores.tables.difference_store import Settlement
from app.stores.tables.physical import METADATA, tap_schema
from app.uws.job import JobResult, Phase
from tests.postgres import PostgresServer
from tests.stores.contract import ROOT, dataset, execute, new_job

OWN_COLUMNS = {name for name, _ in RegionColumns.of("s_region").types()}
"""Columns that the spatial index alone uses."""


def type_family(kind: sa.types.TypeEngine[object]) -> str:
    """Types that mean the same to the program on either engine."""
    if isinstance(kind, sa.Integer):
        return "integer"
    if isinstance(kind, sa.Float):
        return "real"
    return "text" if isinstance(kind, sa.String) else str(kind)


@pytest.mark.filterwarnings("ignore:Did not recognize type '(box|polygon)'")
def test_the_tables_are_those_that_the_program_declares(stores: MetadataStores) -> None:
    inspector = sa.inspect(stores.engine)
    for table in METADATA.sorted_tables:
        found = {
            column["name"]: (type_family(column["type"]), bool(column["nullable"]))
            for column in inspector.get_columns(table.name)
            if column["name"] not in OWN_COLUMNS
        }
        wanted = {c.name: (type_family(c.type), bool(c.nullable)) for c in table.columns}
        assert found == wanted, table.name


def test_tap_schema_holds_what_the_catalog_says(stores: MetadataStores) -> None:
    with stores.engine.connect() as connection:
        for physical, rows in tap_schema_rows(CATALOG).items():
            stored = connection.execute(sa.select(tap_schema[physical])).mappings()
            assert sorted(map(dict, stored), key=str) == sorted(map(dict, rows), key=str)


def test_upgrading_again_changes_nothing_and_refreshes_tap_schema(stores: MetadataStores) -> None:
    stores.datasets.upsert([dataset(1)])
    with write_transaction(stores.engine) as connection:
        connection.execute(tap_schema["tap_columns"].delete())
    done = upgrade(stores.engine)
    assert (done.changed, done.new_revision, done.regions_indexed) == (False, head_revision(), 0)
    columns = sum(len(t.fields) for s in CATALOG.schemas for t in s.tables)
    assert len(execute(stores, "SELECT * FROM tap_columns")) == columns
    assert stores.datasets.get_many([dataset(1).dataset_id]) == [dataset(1)]


def test_upgrading_indexes_regions_that_the_index_lost(stores: MetadataStores) -> None:
    stores.datasets.upsert([dataset(n) for n in range(5)])
    lose = {
        "sqlite": "DELETE FROM obscore_s_region_outline WHERE row_id < 3",
        "postgresql": "UPDATE obscore SET s_region_bounds = NULL WHERE obs_id < 'image-0002'",
    }
    with write_transaction(stores.engine) as connection:
        connection.exec_driver_sql(lose[stores.engine.dialect.name])
    assert upgrade(stores.engine).regions_indexed == 2
    assert upgrade(stores.engine).regions_indexed == 0


def test_a_database_of_a_newer_version_is_left_alone(stores: MetadataStores) -> None:
    with write_transaction(stores.engine) as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(StoreUnavailableError, match="newer version"):
        upgrade(stores.engine)


def test_the_migrations_can_be_taken_back(stores: MetadataStores) -> None:
    with write_transaction(stores.engine) as connection:
        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", str(migrations_dir()))
        command.downgrade(config, "base")
    left = set(sa.inspect(stores.engine).get_table_names()) - {"alembic_version"}
    assert left == set()
    assert upgrade(stores.engine).old_revision is None


def test_products_that_were_built_before_keep_their_quality(stores: MetadataStores) -> None:
    row = replace(dataset(1), origin="built", recipe_key="key")
    quality = ProductQuality(
        product_id=row.dataset_id, numbers={"n_inputs": 7, "n_psf": 5}, words={"warp": "direct"}
    )
    stores.datasets.publish(row, [], quality, result_media_type="image/fits", now=datetime.now(UTC))
    asked = "SELECT n_inputs, n_psf, warp, build_s FROM build_quality"
    assert [tuple(each) for each in execute(stores, asked)] == [(7, 5, "direct", None)]
    with write_transaction(stores.engine) as connection:
        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", str(migrations_dir()))
        command.downgrade(config, "0009")
    assert upgrade(stores.engine).old_revision == "0009"
    assert [tuple(each) for each in execute(stores, asked)] == [(7, None, None, None)]


def test_results_of_older_jobs_count_for_their_account(stores: MetadataStores) -> None:
    result = JobResult(result_id="result", media_type="text/csv", path="x", size_bytes=70)
    unknown = replace(result, size_bytes=None)
    for name, results in (("a", (result, result)), ("b", (result, unknown)), ("c", ())):
        job = new_job(name, phase=Phase.COMPLETED, account="ada", results=results)
        stores.jobs.add(job)
    with write_transaction(stores.engine) as connection:
        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", str(migrations_dir()))
        command.downgrade(config, "0021")
    upgrade(stores.engine)
    assert stores.jobs.held_bytes("ada") == 210


def test_an_older_archive_is_to_be_looked_at_for_differences(stores: MetadataStores) -> None:
    built = replace(dataset(3), origin="built", recipe_key="key")
    raw = dataset(4, calib_level=1)
    elsewhere = dataset(5, lsst_band=None)
    stores.datasets.upsert([dataset(1), dataset(2), built, raw, elsewhere])
    promise = replace(
        dataset(6, build_state="buildable"), origin="virtual", difference_of=dataset(1).dataset_id
    )
    stores.differences.settle(Settlement(listed=[promise]))
    with write_transaction(stores.engine) as connection:
        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", str(migrations_dir()))
        command.downgrade(config, "0011")
    upgrade(stores.engine)
    until = stores.differences.newest_place()
    assert until is not None
    places = stores.differences.places(until=until, most=10)
    assert [each.s_region for each in places] == [dataset(n).columns["s_region"] for n in (1, 2)]
    states = "SELECT obs_id, build_state FROM obscore ORDER BY obs_id"
    assert [tuple(each) for each in execute(stores, states)] == [
        (dataset(n).columns["obs_id"], "built" if n == 3 else None) for n in range(1, 6)
    ]


def test_several_processes_may_initialise_at_once(
    tmp_path: Path, postgres_server: PostgresServer
) -> None:
    code = "import sys; from app.services.setup import init_database; init_database(sys.argv[1])"
    for url in (f"sqlite:///{tmp_path / 'new' / 'x.sqlite3'}", postgres_server.create()):
        racers = [
            subprocess.Popen(
                [sys.executable, "-c", code, url], cwd=ROOT, stderr=subprocess.PIPE, text=True
            )
            for _ in range(3)
        ]
        assert [racer.communicate()[1] for racer in racers] == [""] * 3
        assert not init_database(url).changed


def test_init_says_what_it_did(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'deep' / 'er' / 'x.sqlite3'}"
    first, again = init_database(url), init_database(url)
    assert first.changed and not again.changed
    assert any("created the tables" in line for line in first.lines())
    assert any("up to date" in line for line in again.lines())


def test_a_database_that_was_never_initialised_has_no_revision(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path / 'x.sqlite3'}")
    assert current_revision(engine) is None
    engine.dispose()


@pytest.mark.needs("postgresql")
def test_an_upgrade_waits_for_no_table_for_long(fresh_postgres_url: str) -> None:
    """Whoever asks for a table waits behind a migration that waits for it: a live service too."""
    engine = open_engine(fresh_postgres_url)
    with engine.begin() as connection:
        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", str(migrations_dir()))
        command.downgrade(config, "0018")
    with engine.begin() as reader:
        reader.exec_driver_sql("SELECT count(*) FROM job")
        with pytest.raises(StoreUnavailableError, match=r"in use for more than 0\.1 s.*init again"):
            upgrade(engine, lock_timeout_s=0.1)
        assert current_revision(engine) == "0018"
    assert upgrade(engine).new_revision == head_revision()
    engine.dispose()


@pytest.mark.needs("postgresql")
def test_what_was_made_for_pgsphere_goes(fresh_postgres_url: str) -> None:
    """As a database is left that once had the extension, when that is dropped or none is there."""
    engine = open_engine(fresh_postgres_url)
    beside = "SELECT column_name FROM information_schema.columns WHERE column_name LIKE '%%spoly'"
    with engine.begin() as connection:
        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", str(migrations_dir()))
        command.downgrade(config, "0024")
        connection.exec_driver_sql("ALTER TABLE obscore ADD COLUMN s_region_spoly text")
        connection.exec_driver_sql("CREATE TABLE theirs (x_spoly text)")
        connection.exec_driver_sql(
            "CREATE FUNCTION adql_polygon(vertices float8[]) RETURNS text LANGUAGE sql"
            " AS $$ SELECT 'x' $$"
        )
        command.upgrade(config, "head")
        assert connection.exec_driver_sql(beside).scalars().all() == ["x_spoly"]
        known = "SELECT to_regprocedure('adql_polygon(float8[])')"
        assert connection.exec_driver_sql(known).scalar_one() is None
    engine.dispose()

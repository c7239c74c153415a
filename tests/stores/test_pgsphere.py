"""Databases with pgSphere, and what init does where it cannot be had."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa

from app.adql.compile import compile_query
from app.errors import StoreUnavailableError
from app.schema.catalog import CATALOG
from app.services.doctor.service import doctor
from app.services.setup import init_database
from app.stores.database import write_transaction
from app.stores.kept_files import KeptFiles
from app.stores.metadata import MetadataStores, open_stores
from app.stores.pgsphere import explain_refusal
from tests.postgres import PostgresServer, database_name
from tests.stores.contract import dataset

BENT = "POLYGON ICRS 10 10 10.0000000001 10.5 10 11 11 11 11 10"
"""pgSphere takes its edges for overlapping ones; as stored it is thinned."""


@pytest.fixture
def plain_url(postgres_server: PostgresServer, postgres_template: str) -> Iterator[str]:
    """An empty database as a user sees it who may create no extension."""
    url = postgres_server.create()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP ROLE IF EXISTS plain_user")
        connection.execute("CREATE ROLE plain_user LOGIN PASSWORD 'plain'")
        connection.execute("GRANT ALL ON SCHEMA public TO plain_user")
    plain = sa.make_url(url).set(username="plain_user", password="plain")
    yield plain.render_as_string(hide_password=False)
    postgres_server.drop(url)
    with psycopg.connect(postgres_server.admin_url, autocommit=True) as connection:
        connection.execute("DROP ROLE plain_user")


def found(stores: MetadataStores, condition: str) -> list[object]:
    """``obs_id`` of the images for which it holds."""
    text = f"SELECT obs_id FROM ivoa.ObsCore WHERE {condition} ORDER BY obs_id"
    query = compile_query(text, catalog=CATALOG, target=stores.tables.target, maxrec=100)
    return [name for batch in stores.tables.stream(query) for name in batch.columns[0].to_pylist()]


def test_a_user_who_may_not_create_the_extension_has_a_database_without(plain_url: str) -> None:
    done = " ".join(init_database(plain_url).lines())
    assert "without pgSphere" in done
    assert "CREATE EXTENSION pg_sphere" in done and database_name(plain_url) in done
    stores = open_stores(plain_url)
    stores.datasets.upsert([dataset(1), dataset(2, region=BENT)])
    assert found(stores, "CONTAINS(POINT(10.5, 10.2), s_region) = 1") == ["image-0002"]
    assert found(stores, "CONTAINS(POLYGON(10.1, 10.1, 10.2, 10.1, 10.2, 10.2), s_region) = 1") == [
        "image-0002"
    ]
    stores.close()
    again = init_database(plain_url)
    assert not again.changed and "CREATE EXTENSION" not in " ".join(again.lines())


def test_where_pgsphere_is_required_a_refusal_says_who_may(plain_url: str) -> None:
    with pytest.raises(StoreUnavailableError) as caught:
        init_database(plain_url, pgsphere="required")
    message = str(caught.value)
    assert "CREATE EXTENSION pg_sphere" in message and database_name(plain_url) in message


def test_an_extension_that_comes_later_changes_nothing(fresh_stock_url: str) -> None:
    stores = open_stores(fresh_stock_url)
    stores.datasets.upsert([dataset(1, region=BENT)])
    with write_transaction(stores.engine) as connection:
        connection.exec_driver_sql("CREATE EXTENSION pg_sphere")
    assert not init_database(fresh_stock_url).pgsphere
    assert stores.tables.target == "stock_postgres"
    assert found(stores, "INTERSECTS(s_region, POLYGON(9, 9, 12, 9, 10.01, 10.5)) = 1")
    stores.close()


def test_a_database_that_lost_pgsphere_goes_on_without(fresh_postgres_url: str) -> None:
    """As a dump that is restored where there is none."""
    stores = open_stores(fresh_postgres_url)
    stores.datasets.upsert([dataset(1), dataset(2, region=BENT)])
    inside = "CONTAINS(POLYGON(10.1, 10.1, 10.2, 10.1, 10.2, 10.2), s_region) = 1"
    before = found(stores, inside)
    with write_transaction(stores.engine) as connection:
        connection.exec_driver_sql("DROP EXTENSION pg_sphere CASCADE")
    stores.close()
    assert not init_database(fresh_postgres_url).changed
    stores = open_stores(fresh_postgres_url)
    stores.datasets.upsert([dataset(3, region=BENT)])
    assert found(stores, inside) == [*before, "image-0003"] == ["image-0002", "image-0003"]
    stores.close()


@pytest.mark.needs("postgresql")
@pytest.mark.parametrize(("flavour", "words"), [("postgres", "with"), ("stock", "without")])
def test_the_doctor_says_which_it_is(
    request: pytest.FixtureRequest, tmp_path: Path, flavour: str, words: str
) -> None:
    url = request.getfixturevalue(f"fresh_{flavour}_url")
    findings = doctor(url, files=KeptFiles(tmp_path))
    (of_server,) = (each for each in findings if each.subject == "PostgreSQL")
    assert of_server.status == "ok" and f"{words} pgSphere" in of_server.detail


def test_the_known_clash_names_the_pairs_that_work() -> None:
    reason = explain_refusal(
        "42P13",
        "commutator operator @> is already the commutator of operator <@",
        version="15.20",
        database="skyloom",
    )
    for words in ("15.20", "15.18", "1.1.1", "apt-mark hold", "postgresql-15=15.18-0+deb12u1"):
        assert words in reason


def test_a_server_without_pgsphere_names_the_package() -> None:
    reason = explain_refusal(
        "0A000", 'extension "pg_sphere" is not available', version="16.4", database="skyloom"
    )
    assert "postgresql-16-pgsphere" in reason


def test_any_other_refusal_keeps_the_servers_words() -> None:
    reason = explain_refusal("XX000", "disk on fire\nCONTEXT: x", version="15.18", database="d")
    assert "disk on fire" in reason and "CONTEXT" not in reason

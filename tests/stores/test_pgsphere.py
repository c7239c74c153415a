"""What init says when pgSphere cannot be had."""

from __future__ import annotations

import psycopg
import pytest
import sqlalchemy as sa

from app.errors import StoreUnavailableError
from app.services.setup import init_database
from app.stores.pgsphere import explain_refusal
from tests.postgres import PostgresServer, database_name


def test_a_user_who_may_not_create_the_extension_is_told_who_may(
    postgres_server: PostgresServer, postgres_template: str
) -> None:
    url = postgres_server.create()
    with psycopg.connect(postgres_server.admin_url, autocommit=True) as connection:
        connection.execute("DROP ROLE IF EXISTS plain_user")
        connection.execute("CREATE ROLE plain_user LOGIN PASSWORD 'plain'")
    plain = sa.make_url(url).set(username="plain_user", password="plain")
    with pytest.raises(StoreUnavailableError) as caught:
        init_database(plain.render_as_string(hide_password=False))
    message = str(caught.value)
    assert "CREATE EXTENSION pg_sphere" in message and database_name(url) in message
    postgres_server.drop(url)


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

"""A transaction that PostgreSQL gave up for another may succeed when it is tried again."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import sqlalchemy as sa

from app.errors import StoreUnavailableError
from app.stores.database import open_engine, write_transaction


def test_a_deadlock_is_transient(fresh_postgres_url: str) -> None:
    engine, both = open_engine(fresh_postgres_url), Barrier(2)
    lock = sa.text("SELECT pg_advisory_xact_lock(:key)")

    def take(first: int, second: int) -> str:
        try:
            with write_transaction(engine) as connection:
                connection.execute(lock, {"key": first})
                both.wait()
                connection.execute(lock, {"key": second})
        except StoreUnavailableError as fault:
            return str(fault)
        return ""

    with ThreadPoolExecutor() as pool:
        told = sorted(pool.map(take, (1, 2), (2, 1)))
    engine.dispose()
    assert told[0] == "" and "deadlock" in told[1]

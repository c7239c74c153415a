"""PostgreSQL: rows of ObsCore by COPY."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from app.stores.tables.bulk import insert_batch
from app.stores.tables.region_columns import region_values
from app.stores.tables.row_batch import RowBatch
from app.stores.tables.row_upsert import hidden_columns


class CopyWriter:
    """Puts rows into obscore with what lies beside their regions."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def put(self, batch: RowBatch) -> None:
        """COPY the rows."""
        names = batch.columns["obs_publisher_did"]
        beside = region_values(
            "s_region", batch.columns["s_region"], lambda row: str(names[row]), is_binary=True
        )
        columns = {**batch.columns, **hidden_columns(batch), **beside}
        insert_batch(self._connection, "obscore", list(columns), list(columns.values()))

    def finish(self) -> None:
        """Nothing was held back."""


@contextmanager
def indexed_afterwards(connection: sa.Connection) -> Iterator[None]:
    """Into an empty table rows go first and indexes are made of them then: that is several times
    faster. It happens in the transaction of the rows, so a crash leaves the indexes as they were.
    """
    indexes = list(_plain_indexes(connection))
    for name, _ in indexes:
        connection.exec_driver_sql(f'DROP INDEX "{name}"')
    yield
    connection.exec_driver_sql("SET LOCAL maintenance_work_mem = '256MB'")
    for _, statement in indexes:
        connection.exec_driver_sql(statement.replace("%", "%%"))


def _plain_indexes(connection: sa.Connection) -> Iterator[tuple[str, str]]:
    """Name and definition of the indexes of obscore that no constraint needs."""
    query = (
        "SELECT c.relname, pg_get_indexdef(i.indexrelid) FROM pg_index i "
        "JOIN pg_class c ON c.oid = i.indexrelid "
        "WHERE i.indrelid = 'obscore'::regclass AND NOT EXISTS "
        "(SELECT 1 FROM pg_constraint k WHERE k.conindid = i.indexrelid)"
    )
    for name, statement in connection.exec_driver_sql(query).all():
        yield str(name), str(statement)

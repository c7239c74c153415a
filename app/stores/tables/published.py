"""The tables that users publish, as they lie in the database: made, filled, exchanged, dropped.

A table is filled under a name of its own that no catalog holds, and published in one transaction
when it is whole. What it replaces is dropped only after every process has seen the new catalog. One
loader works at a time; what one left behind that died, the next removes.
"""

from __future__ import annotations

import fcntl
import re
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Final

import pyarrow as pa
import sqlalchemy as sa

from app.errors import StoreUnavailableError, UsageError
from app.schema.fields import Table
from app.stores.database import read_transaction, sqlite_file, write_transaction
from app.stores.database_faults import database_faults
from app.stores.tables.bulk import insert_batch
from app.stores.tables.catalog_store import (
    LOOK_S,
    PublishedTable,
    discard,
    discarded,
    keep,
    read_published,
    register,
    unregister,
)
from app.stores.tables.physical import physical_table
from app.stores.tables.planner_statistics import refresh_statistics
from app.stores.tables.spatial import create_spatial_indexes, index_rows

_LOAD_LOCK: Final = 0x736B796C6F6164
"""Key of the advisory lock that loaders hold ("skyload")."""

_GRACE_S: Final = 3 * LOOK_S
"""After this no process reads the old catalog any more."""

_DROP_WAIT_MS: Final = 10_000

Loaded = Callable[[int], None]
"""Told how many rows are in."""


class PublishedStore:
    """Writes published tables. Every method may raise StoreUnavailableError."""

    def __init__(self, *, engine: sa.Engine) -> None:
        self._engine = engine

    @contextmanager
    def loading(self) -> Iterator[None]:
        """Be the only loader, over what no other left unfinished. Raises UsageError when another
        one is at work."""
        with self._alone():
            self.sweep()
            yield

    @contextmanager
    def _alone(self) -> Iterator[None]:
        busy = UsageError("another command is loading a table now; try again when it is done")
        path = sqlite_file(self._engine.url.render_as_string(hide_password=False))
        if path is not None:
            with path.with_name(f"{path.name}-loading").open("w") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError:
                    raise busy from None
                yield
            return
        with database_faults(), self._engine.connect() as connection:
            # Held by the session: a transaction open as long would keep VACUUM from the new rows.
            session = connection.execution_options(isolation_level="AUTOCOMMIT")
            if not session.scalar(sa.select(sa.func.pg_try_advisory_lock(_LOAD_LOCK))):
                raise busy
            try:
                yield
            finally:
                session.execute(sa.select(sa.func.pg_advisory_unlock(_LOAD_LOCK)))

    def find(self, name: str) -> PublishedTable | None:
        """The published table of that name in any case."""
        with read_transaction(self._engine) as connection:
            known = {e.table.name.lower(): e for e in read_published(connection)}
        return known.get(name.lower())

    def create(
        self, table: Table, batches: Iterable[pa.RecordBatch], *, on_rows: Loaded
    ) -> tuple[Table, int]:
        """Fill a new table that nobody sees yet; it and the number of its rows.

        Each batch is a transaction of its own, so that others may write meanwhile.
        """
        table = replace(table, physical=_physical_name(table.name))
        made = physical_table(table)
        with write_transaction(self._engine) as connection:
            discard(connection, table.physical)
            made.create(connection)
        rows = 0
        names = ["row_id", *(field.physical for field in table.fields)]
        for batch in batches:
            numbers = pa.array(range(rows + 1, rows + batch.num_rows + 1), pa.int64())
            with write_transaction(self._engine) as connection:
                insert_batch(connection, table.physical, names, [numbers, *batch.columns])
            rows += batch.num_rows
            on_rows(rows)
        with write_transaction(self._engine) as connection:
            create_spatial_indexes(connection, table)
            for statement in _plain_indexes(table):
                connection.exec_driver_sql(statement)
        refresh_statistics(self._engine, table.physical)
        return table, rows

    def publish(self, entry: PublishedTable) -> None:
        """Let queries see a table that was filled, in place of one of the same name."""
        with write_transaction(self._engine) as connection:
            for old in read_published(connection):
                if old.table.name.lower() == entry.table.name.lower():
                    discard(connection, old.table.physical)
            keep(connection, entry.table.physical)
            register(connection, entry)

    def append(
        self, entry: PublishedTable, batches: Iterable[pa.RecordBatch], *, on_rows: Loaded
    ) -> int:
        """Add rows to a published table, all or none; how many. ``entry`` is what the registry
        says then, but for its number of rows."""
        table = entry.table
        names = ["row_id", *(field.physical for field in table.fields)]
        rows = 0
        with write_transaction(self._engine) as connection:
            last = f'SELECT coalesce(max(row_id), 0) FROM "{table.physical}"'
            first = int(connection.exec_driver_sql(last).scalar_one())
            for batch in batches:
                start = first + rows + 1
                numbers = pa.array(range(start, start + batch.num_rows), pa.int64())
                insert_batch(connection, table.physical, names, [numbers, *batch.columns])
                rows += batch.num_rows
                on_rows(rows)
            index_rows(connection, table, after=first)
            register(connection, replace(entry, rows=entry.rows + rows))
        return rows

    def drop(self, name: str) -> PublishedTable:
        """Take a table out of the catalog, and then out of the database. Raises UsageError when no
        table of that name was published."""
        with self.loading():
            with write_transaction(self._engine) as connection:
                known = {e.table.name.lower(): e for e in read_published(connection)}
                entry = known.get(name.lower())
                if entry is None:
                    names = ", ".join(e.table.name for e in known.values()) or "none"
                    raise UsageError(f"no table {name!r} was published; published are: {names}")
                discard(connection, entry.table.physical)
                unregister(connection, name)
            self.sweep_later()
        return entry

    def sweep_later(self) -> None:
        """Drop what was replaced once no process reads it."""
        with read_transaction(self._engine) as connection:
            waiting = discarded(connection)
        if waiting:
            time.sleep(_GRACE_S)
            self.sweep()

    def sweep(self) -> None:
        """Drop tables that were never finished or were replaced. The loader's lock is held."""
        with read_transaction(self._engine) as connection:
            names = discarded(connection)
        for physical in names:
            # What a long query still reads is left to the next loader.
            with suppress(StoreUnavailableError), write_transaction(self._engine) as connection:
                if connection.dialect.name == "postgresql":
                    connection.exec_driver_sql(f"SET LOCAL lock_timeout = {_DROP_WAIT_MS}")
                _drop(connection, physical)
                keep(connection, physical)


def _physical_name(name: str) -> str:
    """A name in the database that was never used: ``survey_stars_1f0c…``."""
    readable = re.sub(r"[^a-z0-9]+", "_", name.lower())[:24].strip("_")
    return f"pub_{readable}_{uuid.uuid4().hex[:10]}"


def _plain_indexes(table: Table) -> Iterator[str]:
    """Indexes of the columns that keys and identifiers stand in, and of nothing spatial."""
    spatial = {column for pair in table.positions for column in pair}
    for field in table.fields:
        if field.indexed and field.kind != "region" and field.physical not in spatial:
            name = f"{table.physical}_{field.physical}"
            yield f'CREATE INDEX "{name}" ON "{table.physical}" ("{field.physical}")'


def _drop(connection: sa.Connection, physical: str) -> None:
    """Drop a table with its spatial indexes, whatever of them was made."""
    names = sa.inspect(connection).get_table_names()
    for name in names:
        if name.startswith(f"{physical}_") and name.endswith(("_outline", "_position")):
            connection.exec_driver_sql(f'DROP TABLE "{name}"')
    connection.exec_driver_sql(f'DROP TABLE IF EXISTS "{physical}"')

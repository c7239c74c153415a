"""Which tables are published beside those that every service has, and the catalog of all."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

from app.schema.catalog import catalog_with
from app.schema.definitions import table_from_text, table_to_text
from app.schema.fields import Catalog, Table
from app.schema.tap_schema import tap_schema_rows
from app.stores.database import read_transaction
from app.stores.postgres_roles import show_to_readers
from app.stores.tables.physical import (
    catalog_version,
    discarded_table,
    published_table,
    tap_schema,
)

LOOK_S: Final = 0.5
"""How old the known version of the catalog may be: another process may have changed it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedTable:
    """One table that a user published. ``source`` is the name of the file it came from last,
    ``published`` the UTC instant, ISO 8601."""

    table: Table
    rows: int
    source: str
    published: str


class CatalogStore:
    """The catalog of this moment (:class:`app.schema.catalog.CatalogSource`).

    Every change of the published tables counts ``catalog_version`` up in its transaction. A process
    looks at that number at most every :data:`LOOK_S` and reads the definitions only when it moved.
    """

    def __init__(self, *, engine: sa.Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._known: tuple[int, Catalog] | None = None
        self._looked_s = 0.0

    def current(self) -> Catalog:
        """The catalog; the same object as long as nothing changed.

        Raises StoreUnavailableError when the database does not answer.
        """
        known = self._known
        if known is not None and time.monotonic() - self._looked_s < LOOK_S:
            return known[1]
        # One looks; the others go on with what is known, if anything is.
        if not self._lock.acquire(blocking=known is None):
            return known[1] if known is not None else self.current()
        try:
            self._looked_s = time.monotonic()
            return self._look()
        except BaseException:
            self._looked_s = 0.0
            raise
        finally:
            self._lock.release()

    def _look(self) -> Catalog:
        with read_transaction(self._engine) as connection:
            version = read_version(connection)
            if self._known is None or self._known[0] != version:
                self._known = (version, read_catalog(connection))
        return self._known[1]

    def forget(self) -> None:
        """Look afresh at the next question."""
        self._looked_s = 0.0

    def published(self) -> tuple[PublishedTable, ...]:
        """Every published table, by name."""
        with read_transaction(self._engine) as connection:
            return read_published(connection)


def read_version(connection: sa.Connection) -> int:
    """A number that changes with the published tables."""
    return int(connection.execute(sa.select(catalog_version.c.version)).scalar_one())


def read_published(connection: sa.Connection) -> tuple[PublishedTable, ...]:
    """Every published table, by name."""
    query = sa.select(published_table).order_by(published_table.c.name)
    return tuple(
        PublishedTable(
            table=table_from_text(row.definition),
            rows=row.row_count,
            source=row.source,
            published=row.published,
        )
        for row in connection.execute(query)
    )


def read_catalog(connection: sa.Connection) -> Catalog:
    """The catalog as the database knows it."""
    return catalog_with(each.table for each in read_published(connection))


def register(connection: sa.Connection, entry: PublishedTable) -> None:
    """Publish a table, in the caller's transaction, in place of one of the same name."""
    table = entry.table
    name = table.name.lower()
    connection.execute(published_table.delete().where(published_table.c.name == name))
    connection.execute(
        published_table.insert(),
        {
            "name": name,
            "physical": table.physical,
            "definition": table_to_text(table),
            "row_count": entry.rows,
            "source": entry.source,
            "published": entry.published,
        },
    )
    show_to_readers(connection, table.physical)
    refresh(connection)


def unregister(connection: sa.Connection, name: str) -> None:
    """Take a table out of the catalog, in the caller's transaction."""
    connection.execute(published_table.delete().where(published_table.c.name == name.lower()))
    refresh(connection)


def refresh(connection: sa.Connection) -> None:
    """Count the version up and write TAP_SCHEMA anew."""
    connection.execute(catalog_version.update().values(version=catalog_version.c.version + 1))
    write_tap_schema(connection)


def write_tap_schema(connection: sa.Connection) -> None:
    """Write TAP_SCHEMA from the catalog that queries are compiled with."""
    for physical, rows in tap_schema_rows(read_catalog(connection)).items():
        table = tap_schema[physical]
        connection.execute(table.delete())
        connection.execute(table.insert(), [dict(row) for row in rows])


def discard(connection: sa.Connection, physical: str) -> None:
    """Note that a table in the database is to be dropped: it was never finished, or was replaced
    and may still be read."""
    connection.execute(discarded_table.insert(), {"physical": physical})


def keep(connection: sa.Connection, physical: str) -> None:
    """Take that note back."""
    connection.execute(discarded_table.delete().where(discarded_table.c.physical == physical))


def discarded(connection: sa.Connection) -> tuple[str, ...]:
    """The tables that are to be dropped."""
    return tuple(connection.execute(sa.select(discarded_table.c.physical)).scalars())

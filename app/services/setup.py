"""``skyloom init``: create the database, or bring it to what this version needs."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from app.stores.database import open_engine, read_transaction, sqlite_file
from app.stores.migrations import Upgrade, upgrade
from app.stores.postgres_roles import DEFAULT_READER, ensure_reader
from app.stores.postgres_server import require_new_server
from app.stores.sqlite_compiled import start_loading
from app.stores.tables.catalog_store import read_published


@dataclass(frozen=True, slots=True, kw_only=True)
class SetupReport:
    """What ``init`` did. ``lines()`` tells it to a person."""

    database: str
    upgrade: Upgrade
    role_refused: str | None = None

    @property
    def changed(self) -> bool:
        """Whether anything but the contents of TAP_SCHEMA was written."""
        return self.upgrade.changed

    def lines(self) -> list[str]:
        """One sentence for each thing done."""
        done = []
        old, new = self.upgrade.old_revision, self.upgrade.new_revision
        if old is None:
            done.append(f"created the tables (revision {new})")
        elif old != new:
            done.append(f"upgraded the tables from revision {old} to {new}")
        else:
            done.append(f"the tables are up to date (revision {new})")
        done.append("refreshed TAP_SCHEMA")
        if self.upgrade.regions_indexed:
            done.append(f"indexed {self.upgrade.regions_indexed} regions that searches missed")
        done += [self.role_refused] if self.role_refused else []
        return [f"{self.database}: {line}" for line in done]


def init_database(url: str, *, reader_role: str = DEFAULT_READER) -> SetupReport:
    """Create or upgrade the database; run again, it changes nothing.

    Raises StoreUnavailableError, whose message says what to do, when the database cannot be
    reached, its server is too old, or a newer version of the program wrote it.
    """
    path = sqlite_file(url)
    if path is not None:
        path.absolute().parent.mkdir(parents=True, exist_ok=True)
        start_loading()  # compiles what queries on SQLite call, while the tables are made
    engine = open_engine(url, pool_size=1)
    try:
        postgres = engine.dialect.name == "postgresql"
        if postgres:
            require_new_server(engine)
        upgraded = upgrade(engine)
        return SetupReport(
            database=engine.url.render_as_string(hide_password=True),
            upgrade=upgraded,
            role_refused=_ensure_reader(engine, reader_role) if postgres else None,
        )
    finally:
        engine.dispose()


def _ensure_reader(engine: sa.Engine, role: str) -> str | None:
    with read_transaction(engine) as connection:
        published = [each.table.physical for each in read_published(connection)]
    return ensure_reader(engine, role, published)

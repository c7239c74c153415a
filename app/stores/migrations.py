"""Creating and upgrading the database: the migrations, the contents of TAP_SCHEMA."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psycopg
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from app.errors import StoreUnavailableError
from app.stores.database import read_transaction, write_transaction
from app.stores.tables.catalog_store import write_tap_schema
from app.stores.tables.regions import region_index

_UPGRADE_LOCK = 0x736B796D6967
"""Key of the advisory lock that upgrades hold ("skymig")."""


_IN_USE: Final = (
    "a table that is to be upgraded was in use for more than {limit_s:g} s. Nothing was changed: "
    "run skyloom init again, when no long query or ingest runs"
)
LOCK_TIMEOUT_S: Final = 10.0
"""How long a migration waits for a table on PostgreSQL: whoever asks for the table meanwhile waits
behind it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Upgrade:
    """What an upgrade did: revisions before (None: new database) and after."""

    old_revision: str | None
    new_revision: str
    regions_indexed: int
    """Regions that the spatial index had lost and knows again."""

    @property
    def changed(self) -> bool:
        """Whether the tables were created or altered."""
        return self.old_revision != self.new_revision


def migrations_dir() -> Path:
    """The folder of the migrations: inside the installed package, or beside it in a checkout.

    Raises StoreUnavailableError when neither is there (a broken installation).
    """
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "_migrations", package.parent / "migrations"):
        if (folder / "env.py").is_file():
            return folder
    raise StoreUnavailableError(
        f"the migrations are missing from the installation at {package}: install Skyloom again"
    )


def head_revision() -> str:
    """The revision this version of the program works with."""
    head = ScriptDirectory(str(migrations_dir())).get_current_head()
    if head is None:
        raise StoreUnavailableError(f"{migrations_dir()} holds no migration")
    return head


def current_revision(engine: sa.Engine) -> str | None:
    """The revision the database is at, None for a database that was never initialised."""
    with read_transaction(engine) as connection:
        return MigrationContext.configure(connection).get_current_revision()


def upgrade(engine: sa.Engine, *, lock_timeout_s: float = LOCK_TIMEOUT_S) -> Upgrade:
    """Bring the database to the newest revision, refresh TAP_SCHEMA and index every region that is
    not indexed, in one transaction.

    Does nothing to a database that is up to date; of several at once one works and the others
    wait. Raises StoreUnavailableError when a newer version of the program wrote the database, or
    on PostgreSQL a table that is to be changed is in use for longer than ``lock_timeout_s``.
    """
    with write_transaction(engine) as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(
                sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": _UPGRADE_LOCK}
            )
        old = MigrationContext.configure(connection).get_current_revision()
        _refuse_newer(old)
        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", str(migrations_dir()).replace("%", "%%"))
        with _short_waits(connection, lock_timeout_s):
            command.upgrade(config, "head")
        write_tap_schema(connection)
        index = region_index(engine)
        index.lock(connection)
        repaired = index.repair(connection)
    return Upgrade(old_revision=old, new_revision=head_revision(), regions_indexed=repaired)


@contextmanager
def _short_waits(connection: sa.Connection, limit_s: float) -> Iterator[None]:
    """On PostgreSQL wait for no table longer than that."""
    if connection.dialect.name != "postgresql":
        yield
        return
    connection.exec_driver_sql(f"SET LOCAL lock_timeout = {round(1000 * limit_s):d}")
    try:
        yield
    except sa.exc.OperationalError as error:
        if isinstance(error.orig, psycopg.errors.LockNotAvailable):
            raise StoreUnavailableError(_IN_USE.format(limit_s=limit_s)) from error
        raise
    connection.exec_driver_sql("SET LOCAL lock_timeout = 0")


def _refuse_newer(revision: str | None) -> None:
    known = {script.revision for script in ScriptDirectory(str(migrations_dir())).walk_revisions()}
    if revision is not None and revision not in known:
        raise StoreUnavailableError(
            f"it is at revision {revision}, which this version of Skyloom does not know: "
            "a newer version wrote it; install that version or use another database"
        )

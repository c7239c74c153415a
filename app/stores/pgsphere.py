"""Having pgSphere in a PostgreSQL database, and saying clearly why not.

A database is made with it where it can be had (:data:`Wanted`) and stays as it was made: whether
exact tests are pgSphere's shows by the function that makes its polygons. A dump that is restored
where there is no pgSphere loses that function, and goes on without.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

import psycopg
import sqlalchemy as sa

from app.adql.compiled import Target
from app.errors import StoreUnavailableError
from app.stores.database import read_transaction, write_transaction

OLDEST_POSTGRES: Final = 15

Wanted = Literal["auto", "required", "never"]
"""Whether a new database gets pgSphere: where it can be had, or else none is made, or not."""

_EXTENSION_LOCK: Final = 0x736B79657874
"""Key of the advisory lock that creating the extension holds ("skyext")."""

_CLASH: Final = (
    "PostgreSQL {version} refuses this pgSphere, because its definition names one operator as the "
    "commutator of two ({message}). Debian 12's security build 15.20 does so with Debian's "
    "pgSphere 1.1.1; PostgreSQL 15.18 with pgSphere 1.1.1 works. Either install "
    "postgresql-15=15.18-0+deb12u1 and postgresql-client-15=15.18-0+deb12u1 and hold them "
    "(apt-mark hold), or use pgSphere 1.4 or newer, which dropped that operator, or the image of "
    "docker-compose.yml"
)

_MISSING: Final = (
    "it is not installed on the PostgreSQL {version} server. Install it there: on Debian "
    "and Ubuntu the package postgresql-{major}-pgsphere (Debian 12: together with PostgreSQL "
    "15.18, not 15.20)"
)

_FORBIDDEN: Final = (
    "the database user may not create the extension. Let a superuser run "
    'CREATE EXTENSION pg_sphere in the database "{database}" before skyloom init makes its tables'
)

_TOO_OLD: Final = "PostgreSQL {version} is too old: Skyloom needs 15 or newer"

_USED: Final = "SELECT to_regprocedure('adql_polygon(double precision[])') IS NOT NULL"


@dataclass(frozen=True, slots=True, kw_only=True)
class Provided:
    """Whether the extension was created now; why not, where it could not."""

    created: bool = False
    refused: str | None = None


def provide_pgsphere(engine: sa.Engine, wanted: Wanted = "auto") -> Provided:
    """Create the extension in a new database, if it is wanted and not there.

    Raises StoreUnavailableError that says what to install or to do where it is required, or the
    server is too old.
    """
    with read_transaction(engine) as connection:
        version = server_version(connection)
        is_settled = pgsphere_version(connection) is not None or _is_made(connection)
    if int(version.split(".")[0]) < OLDEST_POSTGRES:
        raise StoreUnavailableError(_TOO_OLD.format(version=version))
    if is_settled or wanted == "never":
        return Provided()
    refused = _create(engine, version)
    if refused is not None and wanted == "required":
        raise StoreUnavailableError(refused)
    return Provided(created=refused is None, refused=refused)


def _create(engine: sa.Engine, version: str) -> str | None:
    """Create the extension; why not, where the server refuses."""
    try:
        with write_transaction(engine) as connection:
            # IF NOT EXISTS alone fails when two processes start at once.
            connection.execute(
                sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": _EXTENSION_LOCK}
            )
            connection.exec_driver_sql("CREATE EXTENSION IF NOT EXISTS pg_sphere")
    except Exception as error:
        cause = getattr(error.__cause__, "orig", None)
        if not isinstance(cause, psycopg.Error):
            raise
        database = str(engine.url.database)
        return explain_refusal(cause.sqlstate, str(cause), version=version, database=database)
    return None


def explain_refusal(sqlstate: str | None, message: str, *, version: str, database: str) -> str:
    """Why the server did not create the extension, and what to do about it."""
    first_line = message.strip().splitlines()[0] if message.strip() else "no reason given"
    if "commutator" in message:
        return _CLASH.format(version=version, message=first_line)
    if sqlstate == "42501":
        return _FORBIDDEN.format(database=database)
    if sqlstate in ("0A000", "58P01"):
        return _MISSING.format(version=version, major=version.split(".", maxsplit=1)[0])
    return f"PostgreSQL {version} cannot create the extension pgSphere: {first_line}"


def server_version(connection: sa.Connection) -> str:
    """``15.18``."""
    text = str(connection.execute(sa.text("SHOW server_version")).scalar_one())
    found = re.match(r"\d+(\.\d+)?", text)
    return found.group() if found else text


def has_pgsphere(connection: sa.Connection) -> bool:
    """Whether the extension is in this database."""
    return pgsphere_version(connection) is not None


def uses_pgsphere(connection: sa.Connection) -> bool:
    """Whether exact tests in this database are pgSphere's."""
    return bool(connection.execute(sa.text(_USED)).scalar_one())


def _is_made(connection: sa.Connection) -> bool:
    """Whether the database has the service's tables already."""
    query = sa.text("SELECT to_regclass('alembic_version') IS NOT NULL")
    return bool(connection.execute(query).scalar_one())


class Flavour:
    """What queries on an engine are compiled for: asked of the database once."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._target: Target | None = None

    def target(self) -> Target:
        """PostgreSQL with or without pgSphere. Raises StoreUnavailableError."""
        if self._target is None:
            with read_transaction(self._engine) as connection:
                self._target = "postgres" if uses_pgsphere(connection) else "stock_postgres"
        return self._target


def pgsphere_version(connection: sa.Connection) -> str | None:
    """Version of the extension in this database, None when it is not created."""
    query = "SELECT extversion FROM pg_extension WHERE extname = 'pg_sphere'"
    value = connection.execute(sa.text(query)).scalar_one_or_none()
    return None if value is None else str(value)

"""Having pgSphere in a PostgreSQL database, and saying clearly why not."""

from __future__ import annotations

import re
from typing import Final

import psycopg
import sqlalchemy as sa

from app.errors import StoreUnavailableError
from app.stores.database import read_transaction, write_transaction

OLDEST_POSTGRES: Final = 15

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
    "pgSphere is not installed on the PostgreSQL {version} server. Install it there: on Debian "
    "and Ubuntu the package postgresql-{major}-pgsphere (Debian 12: together with PostgreSQL "
    "15.18, not 15.20); then run skyloom init again"
)

_FORBIDDEN: Final = (
    "the database user may not create the extension pgSphere. Let a superuser run "
    'CREATE EXTENSION pg_sphere in the database "{database}" once; then run skyloom init again'
)

_TOO_OLD: Final = "PostgreSQL {version} is too old: Skyloom needs 15 or newer with pgSphere"


def ensure_pgsphere(engine: sa.Engine) -> bool:
    """Create the extension if it is not there; whether it was created now.

    Raises StoreUnavailableError that says what to install or to do.
    """
    with read_transaction(engine) as connection:
        version = server_version(connection)
        database = connection.execute(sa.text("SELECT current_database()")).scalar_one()
        if pgsphere_version(connection) is not None:
            return False
    if int(version.split(".")[0]) < OLDEST_POSTGRES:
        raise StoreUnavailableError(_TOO_OLD.format(version=version))
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
        reason = explain_refusal(cause.sqlstate, str(cause), version=version, database=database)
        raise StoreUnavailableError(reason) from None
    return True


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


def pgsphere_version(connection: sa.Connection) -> str | None:
    """Version of the extension in this database, None when it is not created."""
    query = "SELECT extversion FROM pg_extension WHERE extname = 'pg_sphere'"
    value = connection.execute(sa.text(query)).scalar_one_or_none()
    return None if value is None else str(value)

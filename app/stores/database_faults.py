"""What the databases complain of, in the service's own words."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import sqlalchemy as sa

from app.errors import LimitError, ServiceError, StoreUnavailableError, UsageError

_SQLITE_UNAVAILABLE = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_PERM,
    }
)

_SQLITE_OWN_FAULTS = (
    *("prohibited", "not authorized", "no such", "syntax error", "ambiguous column"),
    *("unrecognized token", "near "),
)
"""A statement that SQLite cannot read, or may not run, is a fault of this program, not of the
data."""

_TOO_DEEP = "parser stack overflow"

_POSTGRES_UNAVAILABLE = ("08", "28", "3D", "40", "53", "55", "57", "58")
"""SQLSTATE classes: connection, authorisation, no such database, transaction rolled back (a
deadlock), out of resources, object in use, operator intervention, system error."""

_POSTGRES_DATA = ("22", "23", "54")
"""SQLSTATE classes: data exception, constraint, program limit."""

_MANY_ROWS = "more than one row"
"""In the complaint about a subquery in the place of a value, on either engine."""


@contextmanager
def database_faults() -> Iterator[None]:
    """Turn database exceptions raised inside into ServiceErrors."""
    try:
        yield
    except (sa.exc.SQLAlchemyError, sqlite3.Error, psycopg.Error) as error:
        raise explain(error) from error


def explain(error: Exception) -> ServiceError:
    """The ServiceError that a database exception amounts to."""
    cause = error.orig if isinstance(error, sa.exc.DBAPIError) else error
    if isinstance(cause, sqlite3.Error):
        return _explain_sqlite(cause)
    if isinstance(cause, psycopg.Error):
        return _explain_postgres(cause)
    if isinstance(error, sa.exc.TimeoutError):
        return StoreUnavailableError("all its connections are in use")
    return ServiceError(f"The database layer failed: {error}")


def _explain_sqlite(error: sqlite3.Error) -> ServiceError:
    message = str(error)
    if _MANY_ROWS in message:
        return _many_rows()
    if _TOO_DEEP in message:
        return LimitError("queries nested in one another on SQLite", "more", "7 to 15, by kind")
    code = getattr(error, "sqlite_errorcode", None)
    if code is not None and (code & 0xFF) in _SQLITE_UNAVAILABLE:
        return StoreUnavailableError(message)
    if any(word in message for word in _SQLITE_OWN_FAULTS):
        return ServiceError(f"The database refuses the statement: {message}")
    return UsageError(f"The data made the query fail: {message}")


def _explain_postgres(error: psycopg.Error) -> ServiceError:
    message = error.diag.message_primary or " ".join(str(error).split())
    state = error.sqlstate
    if state == psycopg.errors.CardinalityViolation.sqlstate:
        return _many_rows()
    if state is None or state.startswith(_POSTGRES_UNAVAILABLE):
        return StoreUnavailableError(message)
    if state.startswith(_POSTGRES_DATA):
        return UsageError(f"The data made the query fail: {message}")
    return ServiceError(f"The database refuses the statement: {message}")


def _many_rows() -> ServiceError:
    return UsageError(f"A subquery that stands for a value gave {_MANY_ROWS}")

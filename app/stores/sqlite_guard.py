"""What a statement of a user may touch on SQLite, whatever its text: published tables, to read.

The connection itself is opened read only; this is asked for each table and column while a statement
is prepared, and costs nothing when it runs.
"""

from __future__ import annotations

import sqlite3
from collections.abc import MutableMapping
from typing import Any, Final

from app.schema.catalog import CATALOG
from app.stores.tables.physical import HIDDEN_COLUMNS, METADATA

_KEY: Final = "sqlite_guard"
_PUBLISHED: Final = frozenset(table.physical for table in CATALOG.tables)
_INTERNAL: Final = frozenset(
    {"alembic_version", "sqlite_master", "sqlite_schema", *METADATA.tables} - _PUBLISHED
)
"""Tables of the service itself. What is in neither set was published by users, is an index of
theirs, or came with the query."""
_SHADOW: Final = ("_node", "_rowid", "_parent", "sqlite_master")
"""Ends of the names of tables for which SQLite itself prepares changes that it never makes here,
when an R*Tree is first used."""
_WRITES: Final = frozenset({sqlite3.SQLITE_INSERT, sqlite3.SQLITE_UPDATE, sqlite3.SQLITE_DELETE})
_HARMLESS: Final = frozenset(
    {
        sqlite3.SQLITE_SELECT,
        sqlite3.SQLITE_RECURSIVE,
        sqlite3.SQLITE_TRANSACTION,
        sqlite3.SQLITE_SAVEPOINT,
    }
)
_FORBIDDEN_FUNCTIONS: Final = frozenset({"load_extension", "fts3_tokenizer"})


class SqliteGuard:
    """The authorizer of one connection; ``open`` while the service itself uses it."""

    def __init__(self) -> None:
        self.open = True

    def __call__(
        self, action: int, first: str | None, second: str | None, _base: str | None, _by: str | None
    ) -> int:
        """SQLITE_OK, SQLITE_DENY, or SQLITE_IGNORE: NULL stands for a column that is the service's
        own, since SQLite itself names every column of a table in a join within brackets."""
        if self.open or action in _HARMLESS:
            return sqlite3.SQLITE_OK
        table = (first or "").lower()
        if action == sqlite3.SQLITE_READ:
            if table == "obscore" and (second or "").lower() in HIDDEN_COLUMNS:
                return sqlite3.SQLITE_IGNORE
            allowed = _may_read(table, (second or "").lower())
        elif action == sqlite3.SQLITE_FUNCTION:
            allowed = (second or "").lower() not in _FORBIDDEN_FUNCTIONS
        else:
            allowed = action in _WRITES and table.endswith(_SHADOW)  # the file is read only
        return sqlite3.SQLITE_OK if allowed else sqlite3.SQLITE_DENY


def _may_read(table: str, column: str) -> bool:
    own_numbers = (table, column) == ("sqlite_master", "rowid")  # for the same end
    return own_numbers or table not in _INTERNAL


def guard(connection: sqlite3.Connection, info: MutableMapping[Any, Any]) -> None:
    """Give a new connection its guard, still open."""
    info[_KEY] = made = SqliteGuard()
    connection.set_authorizer(made)


def guard_of(info: MutableMapping[Any, Any]) -> SqliteGuard:
    """The guard of a pooled connection, by its ``info``."""
    found: SqliteGuard = info[_KEY]
    return found

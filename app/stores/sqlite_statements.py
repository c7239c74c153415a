"""Prepared statements of SQLite connections, kept for the next time: to prepare one with many
columns takes a twentieth of the time of a small query."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import MutableMapping
from typing import Any, Final, NamedTuple

from app.stores.sqlite_native import NativeSqlite, handle_of

_MOST: Final = 32
"""Statements kept by a connection."""
_SHELF: Final = "sqlite_statements"
"""Where they lie in the ``info`` of a pooled connection."""


class Prepared(NamedTuple):
    """A statement: its address and the names of its values in their order."""

    pointer: int
    names: tuple[str, ...]


def _prepare(native: NativeSqlite, handle: int, sql: str) -> Prepared:
    """A new statement, to be finalized. Raises sqlite3.Error."""
    pointer, call = native.prepare(handle, sql), native.call
    count = call["sqlite3_bind_parameter_count"](pointer)
    names = [call["sqlite3_bind_parameter_name"](pointer, n + 1).decode()[1:] for n in range(count)]
    return Prepared(pointer, tuple(names))


class StatementShelf:
    """The statements of one connection that nobody uses now, those used last at the end."""

    def __init__(self, native: NativeSqlite, handle: int) -> None:
        self.native = native
        self.handle = handle
        self._statements: OrderedDict[str, Prepared] = OrderedDict()

    def take(self, sql: str) -> Prepared:
        """A statement for ``sql``, kept or new, to be given back. Raises sqlite3.Error."""
        return self._statements.pop(sql, None) or _prepare(self.native, self.handle, sql)

    def give_back(self, sql: str, statement: Prepared) -> None:
        """Keep a statement that was taken; it lets go of the database."""
        self.native.call["sqlite3_reset"](statement.pointer)
        self.native.call["sqlite3_clear_bindings"](statement.pointer)
        self._statements[sql] = statement
        if len(self._statements) > _MOST:
            self._drop(self._statements.popitem(last=False)[1])

    def clear(self) -> None:
        """Finalize all."""
        while self._statements:
            self._drop(self._statements.popitem()[1])

    def _drop(self, statement: Prepared) -> None:
        self.native.call["sqlite3_finalize"](statement.pointer)


def shelf_of(native: NativeSqlite, info: MutableMapping[Any, Any]) -> StatementShelf | None:
    """The shelf of a pooled connection, by its ``info``; None if nobody knows its handle."""
    handle = handle_of(info)
    if handle is None:
        return None
    shelf: StatementShelf = info.setdefault(_SHELF, StatementShelf(native, handle))
    return shelf


def forget_statements(info: MutableMapping[Any, Any]) -> None:
    """Finalize what a connection keeps, which is to be closed: it stays open otherwise."""
    shelf = info.pop(_SHELF, None)
    if shelf is not None:
        shelf.clear()

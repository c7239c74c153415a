"""SQLite statements read into arrow batches by compiled code."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

import numpy as np
import pyarrow as pa

from app.adql.compiled import CompiledQuery
from app.stores import sqlite_native_rows as rows
from app.stores.column_room import DONE, FULL, NO_ROOM, ODD_VALUE, ColumnRoom
from app.stores.sqlite_native import NativeSqlite
from app.stores.sqlite_statements import StatementShelf
from app.stores.tables.control import Pace

_PROGRESS_STEPS: Final = 1000
"""SQLite virtual-machine steps between two looks at the clock (tens of microseconds)."""
_TRANSIENT: Final = ctypes.c_void_p(-1)
"""SQLITE_TRANSIENT: the library copies the text."""

Bound = str | int | float | None


class Watch:
    """What a running statement asks again and again: whether it was cancelled, is out of time, or
    is to rest."""

    def __init__(self, limit_s: float | None, pace: Pace) -> None:
        self._state = np.zeros(rows.STATE_WORDS, np.int64)
        self.address = int(self._state.ctypes.data)
        self._state[rows.ADDRESS] = self.address
        self._pace = pace
        self._state[rows.PACE] = pace.address
        if limit_s is not None:
            now_ns = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
            self._state[rows.DEADLINE_NS] = now_ns + round(limit_s * 1e9)

    def cancel(self) -> None:
        """Interrupt at the next look."""
        self._state[rows.CANCELLED] = 1


@contextmanager
def watched(native: NativeSqlite, handle: int, watch: Watch) -> Iterator[None]:
    """Statements of the connection heed ``watch``."""
    set_handler = native.call["sqlite3_progress_handler"]
    set_handler(handle, _PROGRESS_STEPS, rows.watch.address, watch.address)
    try:
        yield
    finally:
        set_handler(handle, 0, None, None)


class NativeStatement:
    """One statement with its values. To be closed: it goes back to its shelf."""

    def __init__(self, shelf: StatementShelf, sql: str, binds: Mapping[str, Bound]) -> None:
        self._native = shelf.native
        self._handle = shelf.handle
        self._shelf = shelf
        self._sql = sql
        self._statement = shelf.take(sql)
        self.pointer = self._statement.pointer
        try:
            self._bind(binds)
        except BaseException:
            self.close()
            raise

    def _bind(self, binds: Mapping[str, Bound]) -> None:
        call = self._native.call
        for number, name in enumerate(self._statement.names, start=1):
            value = binds[name]
            if value is None:
                continue
            if isinstance(value, str):
                text = value.encode()
                status = call["sqlite3_bind_text"](
                    self.pointer, number, text, len(text), _TRANSIENT
                )
            elif isinstance(value, float):
                status = call["sqlite3_bind_double"](self.pointer, number, value)
            else:
                status = call["sqlite3_bind_int64"](self.pointer, number, value)
            if status:
                raise self._native.error(self._handle)

    def batches(self, query: CompiledQuery, sizes: Iterator[int]) -> Iterator[pa.RecordBatch]:
        """The rows, in batches of ``sizes``; one empty batch when there are none.

        Raises sqlite3.Error as Python's module would.
        """
        columns = ColumnRoom(query.fields)
        status = FULL
        is_first = True
        while status == FULL:
            columns.make_room(next(sizes))
            status = self._fill(columns)
            if columns.row or is_first:
                yield columns.batch()
            is_first = False

    def _fill(self, columns: ColumnRoom) -> int:
        """Step until the room is full (ROW) or the statement ends (DONE)."""
        while True:
            status, columns.row, columns.column = rows.fetch_rows(
                self.pointer, columns.row, columns.column, *columns.limits(), *columns.columns()
            )
            if status in (FULL, DONE):
                return int(status)
            if status == NO_ROOM:
                columns.widen()
            elif status == ODD_VALUE:
                columns.put(self._value(columns.column))
            else:
                raise self._native.error(self._handle)

    def _value(self, column: int) -> str | int | float | bytes:
        """A value of the current row as ``sqlite3`` would give it; never NULL."""
        call = self._native.call
        kind = call["sqlite3_column_type"](self.pointer, column)
        if kind == 1:
            return int(call["sqlite3_column_int64"](self.pointer, column))
        if kind == 2:
            return float(call["sqlite3_column_double"](self.pointer, column))
        start = call["sqlite3_column_blob"](self.pointer, column)
        data = ctypes.string_at(start, call["sqlite3_column_bytes"](self.pointer, column))
        return data.decode() if kind == 3 else data

    def close(self) -> None:
        """End the statement."""
        self.pointer = 0
        self._shelf.give_back(self._sql, self._statement)

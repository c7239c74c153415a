"""The compiled loop that steps a SQLite statement and fills columns, without the interpreter."""

from __future__ import annotations

import time
from typing import Any, Final

from numba import cfunc, types

from app.cells.kernels.machine import (
    compiled,
    copy,
    inlined,
    load_8,
    load_32,
    load_64,
    store_8,
    store_32,
    store_64,
    store_double,
)
from app.stores.column_room import (
    CAPACITY,
    COLUMN_BYTES,
    FULL,
    INTEGER,
    NO_ROOM,
    ODD_VALUE,
    OFFSETS,
    REAL,
    TEXT,
    VALIDITY,
    VALUES,
)

_connection_of = types.ExternalFunction("sqlite3_db_handle", types.intp(types.intp))
_mutex_of = types.ExternalFunction("sqlite3_db_mutex", types.intp(types.intp))
_enter = types.ExternalFunction("sqlite3_mutex_enter", types.void(types.intp))
_leave = types.ExternalFunction("sqlite3_mutex_leave", types.void(types.intp))
_step = types.ExternalFunction("sqlite3_step", types.int32(types.intp))
_column = types.ExternalFunction("sqlite3_column_value", types.intp(types.intp, types.int32))
_type = types.ExternalFunction("sqlite3_value_type", types.int32(types.intp))
_int64 = types.ExternalFunction("sqlite3_value_int64", types.int64(types.intp))
_double = types.ExternalFunction("sqlite3_value_double", types.float64(types.intp))
_text = types.ExternalFunction("sqlite3_value_text", types.intp(types.intp))
_bytes = types.ExternalFunction("sqlite3_value_bytes", types.int32(types.intp))
_nanosleep = types.ExternalFunction("nanosleep", types.int32(types.intp, types.intp))
_clock_gettime = types.ExternalFunction("clock_gettime", types.int32(types.int32, types.intp))

_SQLITE_INTEGER = 1
_SQLITE_FLOAT = 2
_SQLITE_TEXT = 3
_SQLITE_NULL = 5
_LARGEST = 9.2e18

_MONOTONIC = int(time.CLOCK_MONOTONIC)


@inlined
def _put_text(column: int, row: int, value: int, given: int) -> int:
    """The bytes of the text, or ODD_VALUE or NO_ROOM."""
    offsets = load_64(column + OFFSETS) + 4 * row
    start = load_32(offsets)
    if given == _SQLITE_NULL:
        store_32(offsets + 4, start)
        return 0
    if given != _SQLITE_TEXT:
        return ODD_VALUE
    source = _text(value)
    size: int = _bytes(value)
    if start + size > load_64(column + CAPACITY):
        return NO_ROOM
    copy(load_64(column + VALUES) + start, source, size)
    store_32(offsets + 4, start + size)
    return size


@inlined
def _put_number(column: int, row: int, value: int, given: int, kind: int) -> int:
    """0 or ODD_VALUE. An integer in a column of reals and the other way round is cut as Python
    cuts it."""
    target = load_64(column + VALUES) + 8 * row
    if given == _SQLITE_NULL:
        store_64(target, 0)
    elif given == _SQLITE_INTEGER and kind == REAL:
        store_double(target, float(_int64(value)))
    elif given == _SQLITE_INTEGER:
        store_64(target, _int64(value))
    elif given == _SQLITE_FLOAT and kind == REAL:
        store_double(target, _double(value))
    elif given == _SQLITE_FLOAT and kind == INTEGER and abs(_double(value)) < _LARGEST:
        store_64(target, int(_double(value)))
    else:
        return ODD_VALUE
    return 0


@inlined
def _put_cell(column: int, row: int, value: int) -> int:
    """The bytes of a text, 0 for anything else, or ODD_VALUE or NO_ROOM."""
    given = _type(value)
    kind = load_64(column)
    if kind == TEXT:
        size = _put_text(column, row, value, given)
    else:
        size = _put_number(column, row, value, given, kind)
    if size >= 0 and given != _SQLITE_NULL:
        byte = load_64(column + VALIDITY) + (row >> 3)
        store_8(byte, load_8(byte) | 1 << (row & 7))
    return size


@inlined
def _fetch(
    statement: int, row: int, number: int, end: int, budget: int, n_columns: int, columns: int
) -> tuple[int, int, int]:
    used = 0
    while row < end and used < budget:
        if number < 0:
            status = _step(statement)
            if status != FULL:
                return status, row, number
            number = 0
        while number < n_columns:
            value = _column(statement, number)
            size = _put_cell(columns + number * COLUMN_BYTES, row, value)
            if size < 0:
                return size, row, number
            used += size
            number += 1
        number = -1
        row += 1
    return FULL, row, number


@compiled("UniTuple(int64, 3)(int64, int64, int64, int64, int64, int64, int64)")
def fetch_rows(
    statement: int, row: int, number: int, end: int, budget: int, n_columns: int, columns: int
) -> tuple[int, int, int]:
    """Fill columns from a place (row, number of the column; -1: step first) on, up to row ``end``
    or ``budget`` bytes of text; (status, row, column).

    The status is FULL, NO_ROOM, ODD_VALUE or what SQLite answered. ``columns`` is the address of
    their descriptions (:mod:`app.stores.column_room`).
    """
    # SQLite locks its connection for every value: much cheaper for who holds the lock already.
    mutex = _mutex_of(_connection_of(statement))
    _enter(mutex)
    found = _fetch(statement, row, number, end, budget, n_columns, columns)
    _leave(mutex)
    return found


STATE_WORDS: Final = 7
CANCELLED: Final = 0
DEADLINE_NS: Final = 1
ADDRESS: Final = 4
PACE: Final = 5
_LEAST_REST_NS: Final = 1_000_000
_MOST_REST_NS: Final = 10_000_000


@cfunc(types.int32(types.CPointer(types.int64)), cache=True)
def watch(state: Any) -> int:
    """Progress handler: non-zero, which interrupts the statement, once it was cancelled or its
    time is up. It sleeps where the statement is to give way.

    ``state``: the flag, the moment on the monotonic clock in nanoseconds (0: never), room for a
    ``struct timespec``, the address of ``state``, that of a word that says how long the statement
    rests (:class:`app.stores.tables.control.Pace`), when it last rested (0: not yet).
    """
    if state[0] != 0:
        return 1
    rest = load_64(state[5])
    if rest == 0:
        state[6] = 0
        if state[1] == 0:
            return 0
    _clock_gettime(_MONOTONIC, state[4] + 16)
    now = state[2] * 1_000_000_000 + state[3]
    if rest > 0 and state[6] == 0:
        state[6] = now
    elif rest > 0:
        due = (now - state[6]) * rest // 1024
        if due > _LEAST_REST_NS:
            state[2], state[3] = 0, min(due, _MOST_REST_NS)
            _nanosleep(state[4] + 16, 0)
            _clock_gettime(_MONOTONIC, state[4] + 16)
            now = state[6] = state[2] * 1_000_000_000 + state[3]
    return 1 if state[1] != 0 and now > state[1] else 0

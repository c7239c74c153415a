"""The compiled loop that steps a SQLite statement and fills columns, without the interpreter."""

from __future__ import annotations

import time
from typing import Any, Final

import numpy as np
from numba import cfunc, njit, types

from app.stores.column_room import FULL, INTEGER, NO_ROOM, ODD_VALUE, REAL, TEXT

_step = types.ExternalFunction("sqlite3_step", types.int32(types.intp))
_column = types.ExternalFunction("sqlite3_column_value", types.intp(types.intp, types.int32))
_type = types.ExternalFunction("sqlite3_value_type", types.int32(types.intp))
_int64 = types.ExternalFunction("sqlite3_value_int64", types.int64(types.intp))
_double = types.ExternalFunction("sqlite3_value_double", types.float64(types.intp))
_text = types.ExternalFunction("sqlite3_value_text", types.intp(types.intp))
_bytes = types.ExternalFunction("sqlite3_value_bytes", types.int32(types.intp))
_memcpy = types.ExternalFunction("memcpy", types.intp(types.intp, types.intp, types.intp))
_clock_gettime = types.ExternalFunction("clock_gettime", types.int32(types.int32, types.intp))

_SQLITE_INTEGER = 1
_SQLITE_FLOAT = 2
_SQLITE_TEXT = 3
_SQLITE_NULL = 5
_LARGEST = 9.2e18

Array = np.ndarray[Any, Any]

_MONOTONIC = int(time.CLOCK_MONOTONIC)


@njit(cache=True, nogil=True)
def fetch_rows(
    statement: int,
    place: tuple[int, int],
    limits: tuple[int, int],
    kinds: Array,
    slots: Array,
    numbers: Array,
    reals: Array,
    valid: Array,
    offsets: Array,
    texts: Array,
    capacities: Array,
) -> tuple[int, int, int]:
    """Fill columns from ``place`` (row, column; column -1: step first) on; (status, row, column).

    The status is FULL, NO_ROOM, ODD_VALUE or what SQLite answered. The rest of the arguments is
    :meth:`app.stores.column_room.ColumnRoom.arguments`; validity bits are zero before.
    """
    row, column = place
    end, budget = limits
    used = 0
    while row < end and used < budget:
        if column < 0:
            status = _step(statement)
            if status != FULL:
                return status, row, column
            column = 0
        while column < kinds.size:
            value = _column(statement, column)
            given = _type(value)
            slot = slots[column]
            if kinds[column] == TEXT:
                status = _put_text(value, given, row, offsets[slot], texts[slot], capacities[slot])
                used += offsets[slot, row + 1] - offsets[slot, row] if status == FULL else 0
            else:
                status = _put_number(value, given, kinds[column], row, numbers[slot], reals[slot])
            if status != FULL:
                return status, row, column
            if given != _SQLITE_NULL:
                valid[column, row >> 3] |= np.uint8(1 << (row & 7))
            column += 1
        column = -1
        row += 1
    return FULL, row, column


@njit(cache=True, nogil=True)
def _put_text(value: int, given: int, row: int, offsets: Array, target: int, capacity: int) -> int:
    start = offsets[row]
    if given == _SQLITE_NULL:
        offsets[row + 1] = start
        return FULL
    if given != _SQLITE_TEXT:
        return ODD_VALUE
    source = _text(value)
    size = _bytes(value)
    if start + size > capacity:
        return NO_ROOM
    _memcpy(target + start, source, size)
    offsets[row + 1] = start + size
    return FULL


@njit(cache=True, nogil=True)
def _put_number(value: int, given: int, kind: int, row: int, numbers: Array, reals: Array) -> int:
    """An integer in a column of reals and the other way round is cut as Python cuts it."""
    if given == _SQLITE_NULL:
        numbers[row] = 0
    elif given == _SQLITE_INTEGER and kind == REAL:
        reals[row] = float(_int64(value))
    elif given == _SQLITE_INTEGER:
        numbers[row] = _int64(value)
    elif given == _SQLITE_FLOAT and kind == REAL:
        reals[row] = _double(value)
    elif given == _SQLITE_FLOAT and kind == INTEGER and abs(_double(value)) < _LARGEST:
        numbers[row] = int(_double(value))
    else:
        return ODD_VALUE
    return FULL


STATE_WORDS: Final = 5
CANCELLED: Final = 0
DEADLINE_NS: Final = 1
ADDRESS: Final = 4


@cfunc(types.int32(types.CPointer(types.int64)), cache=True)
def watch(state: Any) -> int:
    """Progress handler: non-zero, which interrupts the statement, once it was cancelled or its
    time is up.

    ``state``: the flag, the moment on the monotonic clock in nanoseconds (0: never), room for a
    ``struct timespec``, the address of ``state``.
    """
    if state[0] != 0:
        return 1
    if state[1] == 0:
        return 0
    _clock_gettime(_MONOTONIC, state[4] + 16)
    return 1 if state[2] * 1_000_000_000 + state[3] > state[1] else 0

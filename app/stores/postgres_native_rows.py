"""The compiled loop that takes binary results from libpq and fills columns."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numba import njit, types

from app.stores.column_room import (
    BOOLEAN,
    DONE,
    FULL,
    INTEGER,
    NO_ROOM,
    ODD_VALUE,
    REAL,
    TEXT,
)

_bytes_at = types.CPointer(types.uint8)
_get_result = types.ExternalFunction("PQgetResult", types.intp(types.intp))
_status_of = types.ExternalFunction("PQresultStatus", types.int32(types.intp))
_rows_in = types.ExternalFunction("PQntuples", types.int32(types.intp))
_type_of = types.ExternalFunction("PQftype", types.uint32(types.intp, types.int32))
_is_null = types.ExternalFunction("PQgetisnull", types.int32(types.intp, types.int32, types.int32))
_value = types.ExternalFunction("PQgetvalue", _bytes_at(types.intp, types.int32, types.int32))
_length = types.ExternalFunction("PQgetlength", types.int32(types.intp, types.int32, types.int32))
_clear = types.ExternalFunction("PQclear", types.void(types.intp))
_memcpy = types.ExternalFunction("memcpy", types.intp(types.intp, _bytes_at, types.intp))

FAILED: Final = -3
"""The result that comes back says why."""

_ROWS = (2, 9, 12)
"""PGRES_TUPLES_OK, PGRES_SINGLE_TUPLE, PGRES_TUPLES_CHUNK."""
_INT2, _INT4, _INT8, _FLOAT4, _FLOAT8, _BOOL = 21, 23, 20, 700, 701, 16
_TEXT, _VARCHAR, _BPCHAR, _NAME, _UNKNOWN = 25, 1043, 1042, 19, 705
_LARGEST = 9.2e18

Array = np.ndarray[Any, Any]


@njit(cache=True, nogil=True)
def fetch_results(
    connection: int,
    result: int,
    result_row: int,
    place: tuple[int, int],
    oids: Array,
    limits: tuple[int, int],
    kinds: Array,
    slots: Array,
    numbers: Array,
    reals: Array,
    valid: Array,
    offsets: Array,
    texts: Array,
    capacities: Array,
) -> tuple[int, int, int, int, int]:
    """Fill columns from ``place`` (row, column) on; (status, result, result_row, row, column).

    ``result`` is the one in hand (0: none) and ``result_row`` its next row; who stops reads on
    with them or clears the result. ``oids`` is filled with the types of the columns. The rest of
    the arguments is :meth:`app.stores.column_room.ColumnRoom.arguments`.
    """
    row, column = place
    end, budget = limits
    used = 0
    while row < end and used < budget:
        if result == 0:
            result, result_row = _get_result(connection), 0
            status = _look_at(result, oids)
            if status != FULL:
                return status, result, result_row, row, column
        if result_row >= _rows_in(result):
            _clear(result)
            result = 0
            continue
        while column < kinds.size:
            slot = slots[column]
            is_null = _is_null(result, result_row, column) != 0
            if kinds[column] == TEXT:
                start, size = offsets[slot, row], 0
                if not is_null:
                    size = _length(result, result_row, column)
                offsets[slot, row + 1] = start + size
                used += size
            if not is_null:
                value = _value(result, result_row, column)
                if kinds[column] != TEXT:
                    status = _put_number(
                        value, oids[column], kinds[column], row, numbers[slot], reals[slot]
                    )
                else:
                    status = _put_text(
                        value, size, oids[column], texts[slot], start, capacities[slot]
                    )
                if status != FULL:
                    return status, result, result_row, row, column
                valid[column, row >> 3] |= np.uint8(1 << (row & 7))
            column += 1
        column = 0
        row += 1
        result_row += 1
    return FULL, result, result_row, row, column


@njit(cache=True, nogil=True)
def _look_at(result: int, oids: Array) -> int:
    """FULL for a result with rows, whose types are noted; DONE after the last, or FAILED."""
    if result == 0:
        return DONE
    if _status_of(result) not in _ROWS:
        return FAILED
    for number in range(oids.size):
        oids[number] = _type_of(result, number)
    return FULL


@njit(cache=True, nogil=True)
def _put_text(value: Any, size: int, oid: int, target: int, start: int, capacity: int) -> int:
    if oid not in (_TEXT, _VARCHAR, _BPCHAR, _NAME, _UNKNOWN):
        return ODD_VALUE
    if start + size > capacity:
        return NO_ROOM
    _memcpy(target + start, value, size)
    return FULL


@njit(cache=True, nogil=True)
def _put_number(value: Any, oid: int, kind: int, row: int, numbers: Array, reals: Array) -> int:
    """Network byte order to our own. Reals in a column of integers are cut as Python cuts them."""
    if oid in (_INT8, _INT4, _INT2):
        number = _integer(value, 8 if oid == _INT8 else 4 if oid == _INT4 else 2)
        if kind == INTEGER:
            numbers[row] = number
        elif kind == REAL:
            reals[row] = float(number)
        else:
            return ODD_VALUE
    elif oid == _FLOAT8:
        bits = _integer(value, 8)
        numbers[row] = bits
        if kind == INTEGER and abs(reals[row]) < _LARGEST:
            numbers[row] = int(reals[row])
        elif kind != REAL:
            return ODD_VALUE
    elif oid == _BOOL and kind == BOOLEAN:
        numbers[row] = value[0]
    else:
        return ODD_VALUE
    return FULL


@njit(cache=True, nogil=True)
def _integer(value: Any, size: int) -> Any:
    number = np.int64(0)
    for place in range(size):
        number = (number << 8) | np.int64(value[place])
    shift = 64 - 8 * size
    return (number << shift) >> shift


@njit(cache=True, nogil=True)
def drain(connection: int) -> None:
    """Take all that still comes."""
    result = _get_result(connection)
    while result != 0:
        _clear(result)
        result = _get_result(connection)

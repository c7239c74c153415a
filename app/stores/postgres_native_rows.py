"""The compiled loop that takes binary results from libpq and fills columns."""

from __future__ import annotations

from typing import Final

from numba import njit, types

from app.cells.kernels.machine import (
    copy,
    inlined,
    load_8,
    load_32,
    load_64,
    load_big_64,
    load_double,
    store_8,
    store_32,
    store_64,
    store_double,
)
from app.stores.column_room import (
    BOOLEAN,
    CAPACITY,
    COLUMN_BYTES,
    DONE,
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

_get_result = types.ExternalFunction("PQgetResult", types.intp(types.intp))
_status_of = types.ExternalFunction("PQresultStatus", types.int32(types.intp))
_rows_in = types.ExternalFunction("PQntuples", types.int32(types.intp))
_type_of = types.ExternalFunction("PQftype", types.uint32(types.intp, types.int32))
_is_null = types.ExternalFunction("PQgetisnull", types.int32(types.intp, types.int32, types.int32))
_value = types.ExternalFunction("PQgetvalue", types.intp(types.intp, types.int32, types.int32))
_length = types.ExternalFunction("PQgetlength", types.int32(types.intp, types.int32, types.int32))
_clear = types.ExternalFunction("PQclear", types.void(types.intp))

FAILED: Final = -3
"""The result that comes back says why."""

_ROWS = (2, 9, 12)
"""PGRES_TUPLES_OK, PGRES_SINGLE_TUPLE, PGRES_TUPLES_CHUNK."""
_INT2, _INT4, _INT8, _FLOAT4, _FLOAT8, _BOOL = 21, 23, 20, 700, 701, 16
_TEXT, _VARCHAR, _BPCHAR, _NAME, _UNKNOWN = 25, 1043, 1042, 19, 705
_LARGEST = 9.2e18


@inlined
def _look_at(result: int, n_columns: int, oids: int) -> int:
    """FULL for a result with rows, whose types are noted; DONE after the last, or FAILED."""
    if result == 0:
        return DONE
    if _status_of(result) not in _ROWS:
        return FAILED
    for number in range(n_columns):
        store_64(oids + 8 * number, _type_of(result, number))
    return FULL


@inlined
def _put_text(column: int, row: int, value: int, size: int, oid: int) -> int:
    """The bytes of the text, or ODD_VALUE or NO_ROOM."""
    offsets = load_64(column + OFFSETS) + 4 * row
    start = load_32(offsets)
    if oid not in (_TEXT, _VARCHAR, _BPCHAR, _NAME, _UNKNOWN):
        return ODD_VALUE
    if start + size > load_64(column + CAPACITY):
        return NO_ROOM
    copy(load_64(column + VALUES) + start, value, size)
    store_32(offsets + 4, start + size)
    return size


@inlined
def _put_number(column: int, row: int, value: int, oid: int, kind: int) -> int:
    """0 or ODD_VALUE. Network byte order to our own; reals in a column of integers are cut as
    Python cuts them."""
    target = load_64(column + VALUES) + 8 * row
    if oid in (_INT8, _INT4, _INT2):
        number = load_big_64(value) if oid == _INT8 else _small_integer(value, oid)
        if kind == INTEGER:
            store_64(target, number)
        elif kind == REAL:
            store_double(target, float(number))
        else:
            return ODD_VALUE
    elif oid == _FLOAT8:
        store_64(target, load_big_64(value))
        if kind == INTEGER and abs(load_double(target)) < _LARGEST:
            store_64(target, int(load_double(target)))
        elif kind != REAL:
            return ODD_VALUE
    elif oid == _BOOL and kind == BOOLEAN:
        store_64(target, load_8(value))
    else:
        return ODD_VALUE
    return 0


@inlined
def _small_integer(value: int, oid: int) -> int:
    high = load_8(value) << 8 | load_8(value + 1)
    if oid == _INT2:
        return (high ^ 0x8000) - 0x8000
    number = high << 16 | load_8(value + 2) << 8 | load_8(value + 3)
    return (number ^ 0x80000000) - 0x80000000


@inlined
def _put_cell(column: int, row: int, result: int, result_row: int, number: int, oid: int) -> int:
    """The bytes of a text, 0 for anything else, or ODD_VALUE or NO_ROOM."""
    kind = load_64(column)
    if _is_null(result, result_row, number) != 0:
        if kind == TEXT:
            offsets = load_64(column + OFFSETS) + 4 * row
            store_32(offsets + 4, load_32(offsets))
        else:
            store_64(load_64(column + VALUES) + 8 * row, 0)
        return 0
    value = _value(result, result_row, number)
    if kind == TEXT:
        size = _put_text(column, row, value, _length(result, result_row, number), oid)
    else:
        size = _put_number(column, row, value, oid, kind)
    if size >= 0:
        byte = load_64(column + VALIDITY) + (row >> 3)
        store_8(byte, load_8(byte) | 1 << (row & 7))
    return size


@njit(cache=True, nogil=True)
def fetch_results(
    connection: int,
    result: int,
    result_row: int,
    row: int,
    number: int,
    oids: int,
    end: int,
    budget: int,
    n_columns: int,
    columns: int,
) -> tuple[int, int, int, int, int]:
    """Fill columns from a place (row, number of the column) on, up to row ``end`` or ``budget``
    bytes of text; (status, result, result_row, row, number).

    ``result`` is the one in hand (0: none) and ``result_row`` its next row; who stops reads on
    with them or clears the result. ``oids`` is the address of the types of the columns, which are
    noted there, ``columns`` that of their descriptions (:mod:`app.stores.column_room`).
    """
    used = 0
    while row < end and used < budget:
        if result == 0:
            result, result_row = _get_result(connection), 0
            status = _look_at(result, n_columns, oids)
            if status != FULL:
                return status, result, result_row, row, number
        if result_row >= _rows_in(result):
            _clear(result)
            result = 0
            continue
        while number < n_columns:
            column = columns + number * COLUMN_BYTES
            oid = load_64(oids + 8 * number)
            size = _put_cell(column, row, result, result_row, number, oid)
            if size < 0:
                return size, result, result_row, row, number
            used += size
            number += 1
        number = 0
        row += 1
        result_row += 1
    return FULL, result, result_row, row, number


@njit(cache=True, nogil=True)
def drain(connection: int) -> None:
    """Take all that still comes."""
    result = _get_result(connection)
    while result != 0:
        _clear(result)
        result = _get_result(connection)

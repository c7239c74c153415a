"""Rows as big-endian bytes."""

from __future__ import annotations

import math

from app.cells.codes import (
    ANY,
    BOOLEAN,
    CHAR,
    COLUMN_BYTES,
    FLOAT,
    INT,
    LISTS,
    LONG,
    PLAIN,
    PRINTABLE,
    SHORT,
    UNICODE,
    UNKNOWN,
)
from app.cells.kernels.bits import is_null, is_true
from app.cells.kernels.characters import put_ascii, put_utf16
from app.cells.kernels.machine import (
    bits_of_double,
    bits_of_float,
    compiled,
    copy,
    fill,
    inlined,
    load_8,
    load_32,
    load_64,
    load_double,
    store_8,
    store_64,
    store_big_16,
    store_big_32,
    store_big_64,
)


@inlined
def _put_real(at: int, value: float, code: int) -> int:
    if code == FLOAT:
        store_big_32(at, bits_of_float(value))
        return at + 4
    store_big_64(at, bits_of_double(value))
    return at + 8


@inlined
def _put_integer(at: int, value: int, code: int) -> int:
    """The address after the value, or -1 when it does not fit."""
    if code == LONG:
        store_big_64(at, value)
        return at + 8
    if code == INT:
        store_big_32(at, value)
        return at + 4 if -0x80000000 <= value <= 0x7FFFFFFF else -1
    store_big_16(at, value)
    return at + 2 if -0x8000 <= value <= 0x7FFF else -1


@inlined
def _put_number(at: int, source: int, code: int) -> int:
    if code >= FLOAT:
        return _put_real(at, load_double(source), code)
    return _put_integer(at, load_64(source), code)


@inlined
def _put_missing(at: int, code: int, null: int) -> int:
    if code >= FLOAT:
        return _put_real(at, math.nan, code)
    if code == BOOLEAN:
        store_8(at, null)
        return at + 1
    return _put_integer(at, null, code)


@inlined
def _put_element(at: int, column: int, index: int, code: int) -> int:
    source = load_64(column + 24) + 8 * index
    if code == BOOLEAN:
        truth = load_64(source)
        store_8(at, load_64(column + 40) if truth == UNKNOWN else 84 if truth else 70)
        return at + 1
    return _put_number(at, source, code)


@inlined
def _put_list(at: int, column: int, row: int, null_row: bool) -> int:
    code = load_64(column) - LISTS
    size = load_64(column + 48)
    offsets = load_64(column + 32) + 4 * row
    start = load_32(offsets)
    n = 0 if null_row else load_32(offsets + 4) - start
    if size == ANY:
        store_big_32(at, n // load_64(column + 56))
        at += 4
    else:
        n = min(n, size)
    for index in range(start, start + n):
        at = _put_element(at, column, index, code)
        if at < 0:
            return -1
    for _ in range(size - n):
        at = _put_missing(at, code, load_64(column + 40))
    return at


@inlined
def _put_text(at: int, column: int, row: int, null_row: bool) -> int:
    size = load_64(column + 48)
    offsets = load_64(column + 32) + 4 * row
    start = load_32(offsets)
    n = 0 if null_row else load_32(offsets + 4) - start
    source = load_64(column + 24) + start
    wide = load_64(column) == UNICODE
    first = at + 4 if size == ANY else at
    most = 2 * n if size == ANY else (2 * size if wide else size)
    if wide:
        end = put_utf16(first, source, n, most)
    elif load_64(column + 56) == PLAIN:
        n = min(n, most)
        copy(first, source, n)
        end = first + n
    else:
        end = put_ascii(first, source, n, most, load_64(column + 56) == PRINTABLE)
    if size == ANY:
        store_big_32(at, (end - first) >> 1 if wide else end - first)
        return end
    fill(end, 0, first + most - end)
    return first + most


@inlined
def _put_cell(at: int, column: int, row: int, null_row: bool) -> int:
    """The address after the cell, or -1 when an integer is too large for its type.

    An integer that is the number for NULL is noted in the last number of the column.
    """
    code = load_64(column)
    if code >= CHAR:
        if code >= LISTS:
            return _put_list(at, column, row, null_row)
        return _put_text(at, column, row, null_row)
    null = load_64(column + 40)
    if null_row:
        return _put_missing(at, code, null)
    if SHORT <= code <= LONG and load_64(load_64(column + 24) + 8 * row) == null:
        store_64(column + 56, 1)
    if code == BOOLEAN:
        store_8(at, 84 if is_true(column, row) else 70)
        return at + 1
    return _put_number(at, load_64(column + 24) + 8 * row, code)


@compiled("int64(int64, int64, int64, int64, int64)")
def put_rows(at: int, n_rows: int, n_columns: int, columns: int, flag_bytes: int) -> int:
    """The address after the rows, or -1 - number of a column whose integers do not fit.

    ``flag_bytes``: bytes of null flags before each row, 0 for none.
    """
    for row in range(n_rows):
        flags = at
        fill(at, 0, flag_bytes)
        at += flag_bytes
        for number in range(n_columns):
            column = columns + number * COLUMN_BYTES
            null_row = is_null(column, row)
            if null_row and flag_bytes:
                byte = flags + (number >> 3)
                store_8(byte, load_8(byte) | 128 >> (number & 7))
            at = _put_cell(at, column, row, null_row)
            if at < 0:
                return -1 - number
    return at

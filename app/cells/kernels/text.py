"""Rows as text."""

from __future__ import annotations

import math

from app.cells.codes import (
    AFTER,
    BEFORE,
    BOOLEAN,
    CELLS,
    CHAR,
    COLUMN_BYTES,
    CSV,
    DOUBLE,
    EMPTY,
    FLOAT,
    INFINITY,
    JSON,
    LISTS,
    LONG,
    MINUS_INFINITY,
    NOT_A_NUMBER,
    NULL,
    PIECE_BYTES,
    PLAIN,
    ROWS,
    SHORT,
    TSV,
    UNKNOWN,
    XML,
)
from app.cells.kernels.bits import is_null, is_true
from app.cells.kernels.characters import put_csv, put_json, put_tsv, put_xml
from app.cells.kernels.decimal import put_double, put_float, put_integer
from app.cells.kernels.machine import (
    compiled,
    copy,
    inlined,
    load_32,
    load_64,
    load_double,
    store_8,
    store_32,
    store_64,
)


@inlined
def _put_piece(at: int, pieces: int, number: int) -> int:
    piece = pieces + number * PIECE_BYTES
    n = load_64(piece)
    store_64(at, load_64(piece + 8))
    if n > 8:
        store_64(at + 8, load_64(piece + 16))
        store_64(at + 16, load_64(piece + 24))
        store_64(at + 24, load_64(piece + 32))
    return at + n


@inlined
def _put_real(at: int, value: float, pieces: int, single: bool) -> int:
    if value - value == 0.0:
        return put_float(at, value) if single else put_double(at, value)
    if math.isnan(value):
        return _put_piece(at, pieces, NOT_A_NUMBER)
    return _put_piece(at, pieces, INFINITY if value > 0 else MINUS_INFINITY)


@inlined
def _put_single(at: int, value: float, pieces: int) -> int:
    # A double beyond the range of floats becomes infinite.
    if abs(value) >= 3.4028235677973366e38:
        value = math.inf if value > 0 else -math.inf
    return _put_real(at, value, pieces, True)


@inlined
def _put_truth(at: int, truth: bool) -> int:
    if truth:
        store_32(at, 0x65757274)
        return at + 4
    store_64(at, 0x65736C6166)
    return at + 5


@inlined
def _put_text(at: int, column: int, row: int, style: int) -> int:
    way = load_64(column + 40)
    offsets = load_64(column + 32) + 4 * row
    start = load_32(offsets)
    n = load_32(offsets + 4) - start
    source = load_64(column + 24) + start
    if style == CSV:
        return put_csv(at, source, n, way == PLAIN)
    if style == JSON:
        store_8(at, 34)
        at += 1
    if way == PLAIN:
        copy(at, source, n)
        at += n
    elif style == XML:
        at = put_xml(at, source, n)
    elif style == TSV:
        at = put_tsv(at, source, n)
    else:
        at = put_json(at, source, n)
    if style == JSON:
        store_8(at, 34)
        at += 1
    return at


@inlined
def _put_element(at: int, column: int, index: int, pieces: int) -> int:
    source = load_64(column + 24) + 8 * index
    kind = load_64(column) - LISTS
    if SHORT <= kind <= LONG:
        return put_integer(at, load_64(source))
    if kind == FLOAT:
        return _put_single(at, load_double(source), pieces)
    if kind == BOOLEAN:
        if load_64(source) == UNKNOWN:
            return _put_piece(at, pieces, NULL)
        return _put_truth(at, load_64(source) == 1)
    return _put_real(at, load_double(source), pieces, False)


@inlined
def _put_list(at: int, column: int, row: int, pieces: int) -> int:
    offsets = load_64(column + 32) + 4 * row
    store_8(at, 91)
    at += 1
    start = load_32(offsets)
    for index in range(start, load_32(offsets + 4)):
        if index > start:
            store_8(at, 44)
            at += 1
        at = _put_element(at, column, index, pieces)
    store_8(at, 93)
    return at + 1


@inlined
def _put_scalar(at: int, column: int, row: int, kind: int, pieces: int) -> int:
    source = load_64(column + 24) + 8 * row
    if SHORT <= kind <= LONG:
        value = load_64(source)
        if value < load_64(column + 40) or value > load_64(column + 48):
            return -1
        return put_integer(at, value)
    if kind == DOUBLE:
        return _put_real(at, load_double(source), pieces, False)
    if kind == FLOAT:
        return _put_single(at, load_double(source), pieces)
    return _put_truth(at, is_true(column, row))


@inlined
def _put_cell(at: int, column: int, row: int, style: int, pieces: int) -> int:
    """The address after the cell, or -1 when an integer is too large for its type."""
    kind = load_64(column)
    if kind == EMPTY or is_null(column, row):
        return _put_piece(at, pieces, NULL)
    if kind < CHAR:
        return _put_scalar(at, column, row, kind, pieces)
    if kind >= LISTS:
        return _put_list(at, column, row, pieces)
    return _put_text(at, column, row, style)


@compiled("int64(int64, int64, int64, int64, int64, int64)")
def put_rows(at: int, n_rows: int, n_columns: int, columns: int, style: int, pieces: int) -> int:
    """The address after the rows, or -1 - number of a column whose integers do not fit."""
    at = _put_piece(at, pieces, BEFORE)
    for row in range(n_rows):
        if row:
            at = _put_piece(at, pieces, ROWS)
        for number in range(n_columns):
            if number:
                at = _put_piece(at, pieces, CELLS)
            at = _put_cell(at, columns + number * COLUMN_BYTES, row, style, pieces)
            if at < 0:
                return -1 - number
    return _put_piece(at, pieces, AFTER)

"""Arrow columns bound to a SQLite statement by compiled code, which runs it once for each row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numba import njit, types

from app.stores.bound_columns import BINARY, REAL, STRING, BoundColumns
from app.stores.sqlite_native import NativeSqlite

_step = types.ExternalFunction("sqlite3_step", types.int32(types.intp))
_reset = types.ExternalFunction("sqlite3_reset", types.int32(types.intp))
_null = types.ExternalFunction("sqlite3_bind_null", types.int32(types.intp, types.int32))
_int64 = types.ExternalFunction(
    "sqlite3_bind_int64", types.int32(types.intp, types.int32, types.int64)
)
_double = types.ExternalFunction(
    "sqlite3_bind_double", types.int32(types.intp, types.int32, types.float64)
)
_BYTES: Final = types.int32(types.intp, types.int32, types.intp, types.int32, types.intp)
_text = types.ExternalFunction("sqlite3_bind_text", _BYTES)
_blob = types.ExternalFunction("sqlite3_bind_blob", _BYTES)

_DONE: Final = 101
_STATIC: Final = 0
"""SQLITE_STATIC: the bytes stay where they are while the statement runs."""

Array = np.ndarray[Any, Any]


def run_for_rows(native: NativeSqlite, handle: int, sql: str, columns: Sequence[pa.Array]) -> None:
    """Run a statement for each row of values; its parameters are ``?``, one for each column.

    Raises sqlite3.Error.
    """
    bound = BoundColumns(columns)
    statement = native.prepare(handle, sql)
    try:
        reals = bound.words.view(np.float64)
        if _run(statement, bound.rows, reals, *bound.arguments()) != _DONE:
            raise native.error(handle)
    finally:
        native.call["sqlite3_finalize"](statement)


@njit(cache=True, nogil=True)
def _run(
    statement: int,
    rows: int,
    reals: Array,
    kinds: Array,
    slots: Array,
    valid: Array,
    words: Array,
    offsets: Array,
    content: Array,
) -> int:
    """The first status that is not _DONE, else _DONE."""
    for row in range(rows):
        for column in range(kinds.size):
            kind, slot, place = kinds[column], slots[column], column + 1
            if not valid[column, row]:
                _null(statement, place)
            elif kind == REAL:
                _double(statement, place, reals[slot, row])
            elif kind < STRING:
                _int64(statement, place, words[slot, row])
            else:
                start, end = offsets[slot, row], offsets[slot, row + 1]
                if kind == BINARY:
                    _blob(statement, place, content[slot] + start, end - start, _STATIC)
                else:
                    _text(statement, place, content[slot] + start, end - start, _STATIC)
        status = _step(statement)
        if status != _DONE:
            return int(status)
        _reset(statement)
    return _DONE

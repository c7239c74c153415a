"""Arrow columns bound to a SQLite statement by compiled code, which runs it once for each row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numba import njit, types

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
_INTEGER, _REAL, _STRING, _BINARY = range(4)

Array = np.ndarray[Any, Any]


def run_for_rows(native: NativeSqlite, handle: int, sql: str, columns: Sequence[pa.Array]) -> None:
    """Run a statement for each row of values; its parameters are ``?``, one for each column.

    Columns hold integers, truth values, reals, text or bytes. Raises sqlite3.Error.
    """
    room = _Room(columns)
    statement = native.prepare(handle, sql)
    try:
        if _run(statement, len(columns[0]), *room.arguments()) != _DONE:
            raise native.error(handle)
    finally:
        native.call["sqlite3_finalize"](statement)


class _Room:
    """Columns as compiled code takes them: words, or offsets and the address of their bytes."""

    def __init__(self, columns: Sequence[pa.Array]) -> None:
        rows = len(columns[0])
        self._kept = [_plain(column) for column in columns]
        self._kinds = np.array([_kind(column.type) for column in self._kept])
        is_bytes = self._kinds >= _STRING
        self._slots = np.where(is_bytes, np.cumsum(is_bytes), np.cumsum(~is_bytes)) - 1
        self._valid = np.empty((len(columns), rows), np.bool_)
        self._words = np.empty((int((~is_bytes).sum()), rows), np.int64)
        self._offsets = np.empty((int(is_bytes.sum()), rows + 1), np.int32)
        self._content = np.zeros(len(self._offsets), np.int64)
        for number, column in enumerate(self._kept):
            self._valid[number] = column.is_valid().to_numpy(zero_copy_only=False)
            self._take(int(self._slots[number]), column)

    def _take(self, slot: int, column: pa.Array) -> None:
        rows = len(column)
        if _kind(column.type) < _STRING:
            words = column.fill_null(0) if column.null_count else column
            self._words[slot] = words.to_numpy(zero_copy_only=False).view(np.int64)
            return
        _, offsets, content = column.buffers()
        ends = np.frombuffer(offsets, np.int32) if rows else np.zeros(1, np.int32)
        self._offsets[slot] = ends[column.offset : column.offset + rows + 1]
        # SQLite takes bytes at no address for NULL.
        self._content[slot] = content.address if content else self._offsets.ctypes.data

    def arguments(self) -> tuple[Array, ...]:
        """What :func:`_run` takes after the number of rows."""
        reals = self._words.view(np.float64)
        return (
            self._kinds,
            self._slots,
            self._valid,
            self._words,
            reals,
            self._offsets,
            self._content,
        )


def _plain(column: pa.Array) -> pa.Array:
    """One array of a type that :func:`_kind` knows."""
    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if pa.types.is_boolean(whole.type) or pa.types.is_null(whole.type):
        return whole.cast(pa.int64())
    return whole


def _kind(kind: pa.DataType) -> int:
    kinds = {pa.int64(): _INTEGER, pa.float64(): _REAL, pa.string(): _STRING, pa.binary(): _BINARY}
    return kinds[kind]


@njit(cache=True, nogil=True)
def _run(
    statement: int,
    rows: int,
    kinds: Array,
    slots: Array,
    valid: Array,
    words: Array,
    reals: Array,
    offsets: Array,
    content: Array,
) -> int:
    """The first status that is not _DONE, else _DONE."""
    for row in range(rows):
        for column in range(kinds.size):
            kind, slot, place = kinds[column], slots[column], column + 1
            if not valid[column, row]:
                _null(statement, place)
            elif kind == _INTEGER:
                _int64(statement, place, words[slot, row])
            elif kind == _REAL:
                _double(statement, place, reals[slot, row])
            else:
                start, end = offsets[slot, row], offsets[slot, row + 1]
                if kind == _STRING:
                    _text(statement, place, content[slot] + start, end - start, _STATIC)
                else:
                    _blob(statement, place, content[slot] + start, end - start, _STATIC)
        status = _step(statement)
        if status != _DONE:
            return int(status)
        _reset(statement)
    return _DONE

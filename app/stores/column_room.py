"""Memory that compiled loops fill with values and that becomes arrow batches without a copy."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

import numpy as np
import pyarrow as pa

from app.cells.arrow_memory import Addresses, batch_of
from app.schema.batches import arrow_schema
from app.schema.fields import Field
from app.stores.tables.batches import convert

INTEGER: Final = 0
REAL: Final = 1
BOOLEAN: Final = 2
TEXT: Final = 3

FULL: Final = 100
"""The room is full (SQLITE_ROW: there may be more)."""
DONE: Final = 101
"""There are no more rows (SQLITE_DONE)."""
ODD_VALUE: Final = -1
"""A value of a type that the column does not have: the caller converts it."""
NO_ROOM: Final = -2
"""A text does not fit into the room for its column: the caller makes more."""

COLUMN_BYTES: Final = 40
"""Bytes that describe a column to a loop: its kind at 0, and these int64 behind it:"""
VALIDITY: Final = 8
"""Address of the validity bits, zero where no value was put yet."""
VALUES: Final = 16
"""Address of the numbers (booleans are such), or of the bytes of the texts."""
OFFSETS: Final = 24
"""Address of the offsets of the texts."""
CAPACITY: Final = 32
"""How many bytes of texts there is room for."""

_KINDS: Final = {"integer": INTEGER, "real": REAL, "boolean": BOOLEAN}
_BATCH_BYTES: Final = 8_000_000
"""A batch ends when its texts are this long together."""
_FIRST_TEXT_BYTES: Final = 96
"""Bytes of a text to begin with; later batches know better."""

Array = np.ndarray[Any, Any]


@lru_cache(maxsize=256)
def _forms(fields: tuple[Field, ...]) -> tuple[Array, Array]:
    """Of each column its kind, and its place among the columns of text or among the others."""
    kinds = np.array([_KINDS.get(f.kind, TEXT) for f in fields], np.int64)
    is_text = kinds == TEXT
    return kinds, np.where(is_text, np.cumsum(is_text), np.cumsum(~is_text)) - 1


class ColumnRoom:
    """Room for the columns of one batch after the other, and how far the current one is."""

    def __init__(self, fields: Sequence[Field]) -> None:
        self._fields = tuple(fields)
        self._kinds, self._slots = _forms(self._fields)
        self._is_text = self._kinds == TEXT
        self._text_bytes = [_FIRST_TEXT_BYTES] * int(self._is_text.sum())
        self.row = 0
        self.column = -1

    def make_room(self, size: int) -> None:
        """Begin a batch of at most ``size`` rows. Earlier batches keep their own memory."""
        self.row, self.column, self._size = 0, -1, size
        texts = len(self._text_bytes)
        self._numbers = np.empty((self._kinds.size - texts, size), np.int64)
        self._valid = np.zeros((self._kinds.size, (size + 7) // 8), np.uint8)
        self._offsets = np.empty((texts, size + 1), np.int32)
        self._offsets[:, 0] = 0
        capacities = size * np.array(self._text_bytes, np.int64)
        # One piece of memory for all; a text column that outgrows its part gets a new one.
        self._texts = [np.empty(capacities.sum(), np.uint8)]
        starts = self._texts[0].ctypes.data + np.cumsum(capacities) - capacities
        self._columns = np.zeros((self._kinds.size, COLUMN_BYTES // 8), np.int64)
        self._columns[:, 0] = self._kinds
        self._columns[:, VALIDITY // 8] = _rows_of(self._valid)
        self._columns[~self._is_text, VALUES // 8] = _rows_of(self._numbers)
        self._columns[self._is_text, VALUES // 8] = starts
        self._columns[self._is_text, OFFSETS // 8] = _rows_of(self._offsets)
        self._columns[self._is_text, CAPACITY // 8] = capacities

    def limits(self) -> tuple[int, int]:
        """The rows there is room for, and the bytes of text that are enough."""
        return self._size, _BATCH_BYTES

    def columns(self) -> tuple[int, int]:
        """The number of columns and the address of what describes them to a compiled loop."""
        return self._kinds.size, self._columns.ctypes.data

    def widen(self, needed: int = 1) -> None:
        """Double the room for the texts of the current column until ``needed`` bytes more fit."""
        column = self._columns[self.column]
        used = int(self._offsets[self._slots[self.column], self.row])
        wider = np.empty(2 * max(int(column[CAPACITY // 8]), used + needed), np.uint8)
        ctypes.memmove(wider.ctypes.data, int(column[VALUES // 8]), used)
        column[VALUES // 8], column[CAPACITY // 8] = wider.ctypes.data, wider.size
        self._texts.append(wider)

    def put(self, value: Any) -> None:
        """Write the current value, which is no NULL, in the type of its column, and pass on."""
        slot = self._slots[self.column]
        converted = convert(value, self._fields[self.column])
        kind = self._kinds[self.column]
        if kind == TEXT:
            self._put_text(slot, converted.encode())
        elif kind == REAL:
            self._numbers.view(np.float64)[slot, self.row] = converted
        else:
            self._numbers[slot, self.row] = converted
        self._valid[self.column, self.row >> 3] |= np.uint8(1 << (self.row & 7))
        self.column += 1

    def _put_text(self, slot: int, text: bytes) -> None:
        column = self._columns[self.column]
        end = int(self._offsets[slot, self.row]) + len(text)
        if end > column[CAPACITY // 8]:
            self.widen(len(text))
        ctypes.memmove(int(column[VALUES // 8]) + end - len(text), text, len(text))
        self._offsets[slot, self.row + 1] = end

    def batch(self) -> pa.RecordBatch:
        """What was filled in."""
        size = self.row
        if size:
            used = self._offsets[:, size].tolist()
            self._text_bytes = [1 + each * 5 // (4 * size) for each in used]
        columns = self._columns
        is_boolean = self._kinds == BOOLEAN
        bits = self._numbers[self._slots[is_boolean], :size] != 0
        packed = np.packbits(bits, axis=1, bitorder="little")
        columns[is_boolean, VALUES // 8] = _rows_of(packed)
        addresses = Addresses(
            validity=columns[:, VALIDITY // 8],
            offsets=columns[:, OFFSETS // 8],
            values=columns[:, VALUES // 8],
        )
        kept = (self._numbers, self._valid, self._offsets, self._texts, packed)
        return batch_of(arrow_schema(self._fields), size, addresses, kept)


def _rows_of(array: Array) -> Array:
    """Addresses of the rows of an array."""
    return array.ctypes.data + array.strides[0] * np.arange(len(array))

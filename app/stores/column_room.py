"""Memory that compiled loops fill with values and that becomes arrow batches without a copy."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from typing import Any, Final

import numpy as np
import pyarrow as pa

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

_KINDS: Final = {"integer": INTEGER, "real": REAL, "boolean": BOOLEAN}
_BATCH_BYTES: Final = 8_000_000
"""A batch ends when its texts are this long together."""
_FIRST_TEXT_BYTES: Final = 96
"""Bytes of a text to begin with; later batches know better."""


class ColumnRoom:
    """Room for the columns of one batch after the other, and how far the current one is."""

    def __init__(self, fields: Sequence[Field]) -> None:
        self._fields = fields
        self._schema = arrow_schema(fields)
        self._types = self._schema.types
        self._kinds = np.array([_KINDS.get(f.kind, TEXT) for f in fields], np.int8)
        is_text = self._kinds == TEXT
        self._slots = np.where(is_text, np.cumsum(is_text), np.cumsum(~is_text)) - 1
        self._text_bytes = [_FIRST_TEXT_BYTES] * int(is_text.sum())
        self.row = 0
        self.column = -1

    def make_room(self, size: int) -> None:
        """Begin a batch of at most ``size`` rows. Earlier batches keep their own memory."""
        self.row, self.column, self._size = 0, -1, size
        texts = len(self._text_bytes)
        self._numbers = np.zeros((self._kinds.size - texts, size), np.int64)
        self._valid = np.zeros((self._kinds.size, (size + 7) // 8), np.uint8)
        self._offsets = np.empty((texts, size + 1), np.int32)
        self._offsets[:, 0] = 0
        self._texts = [np.empty(size * each, np.uint8) for each in self._text_bytes]
        self._note_texts()

    def _note_texts(self) -> None:
        self._addresses = np.array([text.ctypes.data for text in self._texts], np.int64)
        self._capacities = np.array([text.size for text in self._texts], np.int64)

    def arguments(self) -> tuple[Any, ...]:
        """Where everything lies, as the compiled loops take it: the rows there is room for and
        the bytes of text that are enough; kinds and slots of the columns; numbers, the same seen
        as reals, validity bits; offsets, addresses and capacities of the texts."""
        return (
            (self._size, _BATCH_BYTES),
            self._kinds,
            self._slots,
            self._numbers,
            self._numbers.view(np.float64),
            self._valid,
            self._offsets,
            self._addresses,
            self._capacities,
        )

    def widen(self, needed: int = 1) -> None:
        """Double the room for the texts of the current column until ``needed`` bytes more fit."""
        slot = self._slots[self.column]
        used = int(self._offsets[slot, self.row])
        wider = np.empty(max(2 * self._texts[slot].size, 2 * (used + needed)), np.uint8)
        wider[:used] = self._texts[slot][:used]
        self._texts[slot] = wider
        self._note_texts()

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
        start = int(self._offsets[slot, self.row])
        end = start + len(text)
        if end > self._texts[slot].size:
            self.widen(len(text))
        self._texts[slot][start:end] = np.frombuffer(text, np.uint8)
        self._offsets[slot, self.row + 1] = end

    def batch(self) -> pa.RecordBatch:
        """What was filled in."""
        kinds, slots = self._kinds.tolist(), self._slots.tolist()
        arrays = [self._array(*column) for column in zip(count(), kinds, slots, strict=False)]
        return pa.RecordBatch.from_arrays(arrays, schema=self._schema)

    def _array(self, number: int, kind: int, slot: int) -> pa.Array:
        size = self.row
        valid = pa.py_buffer(self._valid[number])
        if kind == TEXT:
            used = int(self._offsets[slot, size])
            if size:
                self._text_bytes[slot] = 1 + used * 5 // (4 * size)
            offsets, text = self._offsets[slot], self._texts[slot][:used]
            data = [valid, pa.py_buffer(offsets), pa.py_buffer(text)]
        elif kind == BOOLEAN:
            bits = np.packbits(self._numbers[slot, :size] != 0, bitorder="little")
            data = [valid, pa.py_buffer(bits)]
        else:
            data = [valid, pa.py_buffer(self._numbers[slot])]
        return pa.Array.from_buffers(self._types[number], size, data)

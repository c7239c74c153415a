"""Arrow columns as compiled code takes them that sends rows to a database."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa

INTEGER: Final = 0
REAL: Final = 1
BOOLEAN: Final = 2
STRING: Final = 3
BINARY: Final = 4

_KINDS: Final = {
    pa.int64(): INTEGER,
    pa.float64(): REAL,
    pa.bool_(): BOOLEAN,
    pa.string(): STRING,
    pa.binary(): BINARY,
}

Array = np.ndarray[Any, Any]


class BoundColumns:
    """``kinds`` and ``slots`` of the columns; ``valid[column, row]``; ``words[slot, row]`` of
    numbers (reals by their bits); of others ``offsets[slot, row]`` and the address of their bytes.

    Columns hold integers, truth values, reals, text or bytes. To be kept while it is used.
    """

    def __init__(self, columns: Sequence[pa.Array]) -> None:
        self.rows = len(columns[0])
        self._kept = list(columns)
        self.kinds = np.array([_KINDS[column.type] for column in columns])
        is_bytes = self.kinds >= STRING
        self.slots = np.where(is_bytes, np.cumsum(is_bytes), np.cumsum(~is_bytes)) - 1
        self.valid = np.empty((len(columns), self.rows), np.bool_)
        self.words = np.empty((int((~is_bytes).sum()), self.rows), np.int64)
        self.offsets = np.empty((int(is_bytes.sum()), self.rows + 1), np.int32)
        self.content = np.zeros(len(self.offsets), np.int64)
        for number, column in enumerate(columns):
            self.valid[number] = column.is_valid().to_numpy(zero_copy_only=False)
            self._take(int(self.slots[number]), column, is_bytes=bool(is_bytes[number]))

    def _take(self, slot: int, column: pa.Array, *, is_bytes: bool) -> None:
        if not is_bytes:
            whole = column.cast(pa.int64()) if pa.types.is_boolean(column.type) else column
            words = whole.fill_null(0) if whole.null_count else whole
            self.words[slot] = words.to_numpy(zero_copy_only=False).view(np.int64)
            return
        _, offsets, content = column.buffers()
        ends = np.frombuffer(offsets, np.int32) if self.rows else np.zeros(1, np.int32)
        self.offsets[slot] = ends[column.offset : column.offset + self.rows + 1]
        # SQLite takes bytes at no address for NULL.
        self.content[slot] = content.address if content else self.offsets.ctypes.data

    def arguments(self) -> tuple[Array, ...]:
        """What a compiled loop needs."""
        return self.kinds, self.slots, self.valid, self.words, self.offsets, self.content

"""Arrow columns as the bytes of PostgreSQL's binary COPY, made by compiled code.

The format is that of the manual's page on COPY; numbers are big-endian, and bytes are taken for
what the type of the column receives.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numba import njit, types

from app.stores.bound_columns import BOOLEAN, STRING, BoundColumns

_memcpy = types.ExternalFunction("memcpy", types.intp(types.intp, types.intp, types.intp))

HEAD: Final = b"PGCOPY\n\xff\r\n\0" + struct.pack(">ii", 0, 0)
END: Final = struct.pack(">h", -1)

Array = np.ndarray[Any, Any]


def copy_rows(columns: Sequence[pa.Array]) -> memoryview:
    """The rows between :data:`HEAD` and :data:`END`."""
    bound = BoundColumns(columns)
    numbers = np.where(bound.kinds == BOOLEAN, 1, np.where(bound.kinds < STRING, 8, 0))
    sizes = bound.valid.sum(axis=1) @ numbers + (bound.offsets[:, -1] - bound.offsets[:, 0]).sum()
    room = np.empty(int(sizes) + bound.rows * (2 + 4 * len(columns)), np.uint8)
    used = _fill(room, room.ctypes.data, bound.rows, *bound.arguments())
    return room.data[:used]


@njit(cache=True, nogil=True)
def _fill(
    room: Array,
    address: int,
    rows: int,
    kinds: Array,
    slots: Array,
    valid: Array,
    words: Array,
    offsets: Array,
    content: Array,
) -> int:
    """How many bytes were written."""
    at = 0
    for row in range(rows):
        at = _put(room, at, kinds.size, 2)
        for column in range(kinds.size):
            kind, slot = kinds[column], slots[column]
            if not valid[column, row]:
                at = _put(room, at, -1, 4)
            elif kind == BOOLEAN:
                at = _put(room, at, 1, 4)
                at = _put(room, at, words[slot, row], 1)
            elif kind < STRING:
                at = _put(room, at, 8, 4)
                at = _put(room, at, words[slot, row], 8)
            else:
                start = offsets[slot, row]
                size = offsets[slot, row + 1] - start
                at = _put(room, at, size, 4)
                _memcpy(address + at, content[slot] + start, size)
                at += size
    return at


@njit(cache=True, nogil=True, inline="always")
def _put(room: Array, at: int, value: int, size: int) -> int:
    """A big-endian integer; where it ends."""
    for place in range(size):
        room[at + place] = (value >> (8 * (size - 1 - place))) & 255
    return at + size

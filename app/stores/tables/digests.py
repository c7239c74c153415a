"""Fingerprints of rows, by columns: equal rows have equal ones, others do not (128 bits).

Two lanes of the FNV-1a hash (Fowler, Noll & Vo 1991) over 64-bit words, finished by the mixer of
SplitMix64 (Steele, Lea & Flood 2014). They tell changed rows from unchanged ones; they are no
protection against somebody who wants two rows to collide.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numba
import numpy as np
import pyarrow as pa

_DIGITS: Final = 32
_HEXADECIMAL: Final = np.frombuffer(bytes(range(256)).hex().encode(), np.uint8).reshape(256, 2)

Lanes = np.ndarray[Any, np.dtype[np.uint64]]


def row_digests(columns: Sequence[pa.Array]) -> Lanes:
    """(rows, 2) words. Columns hold integers, reals or text."""
    rows = len(columns[0])
    state = np.empty((rows, 2), np.uint64)
    state[:, 0], state[:, 1] = 0xCBF29CE484222325, 0x9E3779B97F4A7C15
    for column in columns:
        valid = column.is_valid().to_numpy(zero_copy_only=False)
        if pa.types.is_string(column.type):
            whole = pa.concat_arrays([column])
            _, offsets, content = whole.buffers()
            ends = np.frombuffer(offsets, np.int32)[whole.offset : whole.offset + rows + 1]
            text = np.frombuffer(content or b"\0", np.uint8)
            _mix_texts(state, ends, text, valid)
        else:
            words = column.fill_null(0).to_numpy(zero_copy_only=False)
            _mix_words(state, words.view(np.uint64), valid)
    _finish(state)
    return state


def as_text(digests: Lanes) -> pa.Array:
    """Hexadecimal text of each fingerprint."""
    content = _HEXADECIMAL[np.ascontiguousarray(digests).view(np.uint8)]
    offsets = np.arange(len(digests) + 1, dtype=np.int32) * np.int32(_DIGITS)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(content)]
    return pa.Array.from_buffers(pa.string(), len(digests), buffers)


@numba.njit(cache=True, nogil=True)
def _mix_words(state: Any, words: Any, valid: Any) -> None:
    for row in range(len(words)):
        word = words[row] if valid[row] else np.uint64(0x5555AAAA5555AAAA)
        for lane in range(2):
            state[row, lane] = _mixed(state[row, lane], word, lane)


@numba.njit(cache=True, nogil=True)
def _mix_texts(state: Any, ends: Any, text: Any, valid: Any) -> None:
    for row in range(len(ends) - 1):
        first, last = ends[row], ends[row + 1]
        if not valid[row]:
            first, last = 0, 0
        for lane in range(2):
            value = _mixed(
                state[row, lane], np.uint64(last - first + (1 if valid[row] else 0)), lane
            )
            word = np.uint64(0)
            for place in range(first, last):
                word = (word << np.uint64(8)) | np.uint64(text[place])
                if (place - first) % 8 == 7:
                    value = _mixed(value, word, lane)
                    word = np.uint64(0)
            state[row, lane] = _mixed(value, word, lane)


@numba.njit(cache=True, nogil=True)
def _mixed(value: Any, word: Any, lane: int) -> Any:
    value ^= word
    value *= np.uint64(0x100000001B3) if lane == 0 else np.uint64(0xD6E8FEB86659FD93)
    return value ^ (value >> np.uint64(29))


@numba.njit(cache=True, nogil=True)
def _finish(state: Any) -> None:
    for row in range(len(state)):
        for lane in range(2):
            value = state[row, lane]
            value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            state[row, lane] = value ^ (value >> np.uint64(31))

"""Base64 (RFC 4648, section 4)."""

from __future__ import annotations

from typing import Final

import numpy as np

from app.cells.kernels.machine import compiled, load_big_64, store_8, store_16, store_64

_LETTERS: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_PAIRS = np.array([a | b << 8 for a in _LETTERS for b in _LETTERS], np.uint16)


@compiled("int64(int64, int64, int64)")
def encode(at: int, source: int, n: int) -> int:
    """``n`` bytes, a multiple of 3, as a line; the address after it. Eight bytes behind the data
    may be read."""
    end = source + n
    while source + 6 <= end:
        bits = load_big_64(source)
        first = np.int64(_PAIRS[(bits >> 52) & 4095]) | np.int64(_PAIRS[(bits >> 40) & 4095]) << 16
        second = np.int64(_PAIRS[(bits >> 28) & 4095]) | np.int64(_PAIRS[(bits >> 16) & 4095]) << 16
        store_64(at, first | second << 32)
        source += 6
        at += 8
    if source < end:
        bits = load_big_64(source)
        store_16(at, np.int64(_PAIRS[(bits >> 52) & 4095]))
        store_16(at + 2, np.int64(_PAIRS[(bits >> 40) & 4095]))
        at += 4
    store_8(at, 10)
    return at + 1

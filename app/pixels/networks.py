"""Sorting networks: which pairs of places to compare, in turn, to sort any values."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray


@lru_cache(maxsize=64)
def sorting_network(size: int) -> NDArray[np.int64]:
    """Comparators (low, high), shape (K, 2), read-only: swap the values at the two places when the
    first is the larger, one row after the other, and ``size`` values are in ascending order.

    Batcher's merge exchange (Knuth, The Art of Computer Programming 3, 5.2.2, algorithm M), which
    takes any size; sixteen values need 63 comparators.
    """
    pairs: list[tuple[int, int]] = []
    top = 1 << max(0, (size - 1).bit_length() - 1)
    part = top if size > 1 else 0
    while part > 0:
        step, rest, distance = top, 0, part
        while True:
            pairs += [
                (place, place + distance)
                for place in range(size - distance)
                if place & part == rest
            ]
            if step == part:
                break
            distance, step, rest = step - part, step // 2, part
        part //= 2
    network = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    network.flags.writeable = False
    return network

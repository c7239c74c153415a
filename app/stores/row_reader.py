"""Many short reads of one file at equal distances, in one compiled loop that leaves the other
threads alone: Python's own loop would take and leave their lock at each row."""

from __future__ import annotations

from typing import Final

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

_pread = types.ExternalFunction(
    "pread", types.int64(types.int32, types.intp, types.uint64, types.int64)
)
FEW: Final = 8
"""So many reads are not worth a loop of their own."""


@njit(cache=True, nogil=True)
def read_rows(descriptor: int, start: int, step: int, rows: NDArray[np.uint8]) -> int:
    """Fill ``rows`` (count, length) with the bytes at ``start``, ``start + step`` …

    Returns how many rows were read in full: fewer where the file ends or cannot be read.
    """
    count: int = rows.shape[0]
    length: int = rows.shape[1]
    for row in range(count):
        done = 0
        while done < length:
            got = _pread(
                descriptor,
                rows.ctypes.data + row * length + done,
                length - done,
                start + row * step + done,
            )
            if got <= 0:
                return row
            done += got
    return count

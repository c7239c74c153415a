"""Parts that are joined as they are gone through: each knows an earlier one of the same whole."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray


@njit(cache=True, nogil=True)
def root_of(parent: NDArray[np.int32], n: int) -> int:
    """The first part of the whole that part ``n`` belongs to; the ways to it are halved."""
    while parent[n] != n:
        parent[n] = parent[parent[n]]
        n = parent[n]
    return n

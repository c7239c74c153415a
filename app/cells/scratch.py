"""Memory that a writer uses for one batch after the other."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class Scratch:
    """Lends the same memory again and again: fresh memory costs as much as writing it."""

    def __init__(self) -> None:
        self._array = np.empty(0, np.uint8)

    def lend(self, n_bytes: int) -> NDArray[np.uint8]:
        """At least ``n_bytes``, with any content; until the next call."""
        if len(self._array) < n_bytes:
            self._array = np.empty(n_bytes, np.uint8)
        return self._array

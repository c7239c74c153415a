"""Base64 (RFC 4648, section 4) of bytes that come in pieces."""

from __future__ import annotations

import binascii
from typing import Final

import numpy as np
from numpy.typing import NDArray

from app.cells.scratch import Scratch

SLACK: Final = 8
"""Bytes behind the data that may be read."""


class Base64:
    """Encodes pieces as lines of one text; up to two bytes wait for the next piece."""

    def __init__(self) -> None:
        self.held = b""
        self._scratch = Scratch()

    def encode(self, data: NDArray[np.uint8], n: int) -> bytes:
        """The text of the first ``n`` bytes; ``data`` begins with what was held and has SLACK
        bytes at its end."""
        whole = n - n % 3
        self.held = data[whole:n].tobytes()
        if whole == 0:
            return b""
        out = self._scratch.lend(whole // 3 * 4 + 16)
        start = out.ctypes.data
        from app.cells.kernels.base64 import encode

        end = encode(start, data.ctypes.data, whole)
        return out[: end - start].tobytes()

    def finish(self) -> bytes:
        """The text of what was held."""
        return binascii.b2a_base64(self.held) if self.held else b""

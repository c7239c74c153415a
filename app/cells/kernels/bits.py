"""The bits of arrow: which values are NULL, and booleans."""

from __future__ import annotations

from app.cells.kernels.machine import inlined, load_8, load_64


@inlined
def is_null(column: int, row: int) -> bool:
    """True if the value in that row is NULL; ``column`` is the address of the eight numbers."""
    validity = load_64(column + 8)
    if validity == 0:
        return False
    bit = load_64(column + 16) + row
    return (load_8(validity + (bit >> 3)) >> (bit & 7)) & 1 == 0


@inlined
def is_true(column: int, row: int) -> bool:
    """The value in that row of a column of booleans."""
    bit = load_64(column + 16) + row
    return (load_8(load_64(column + 24) + (bit >> 3)) >> (bit & 7)) & 1 == 1

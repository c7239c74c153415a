"""The columns of a whole batch, as Arrow's C data interface tells of them."""

from __future__ import annotations

from app.cells.codes import BITS, COLUMN_BYTES, TEXTS
from app.cells.kernels.characters import scan
from app.cells.kernels.machine import compiled, inlined, load_8, load_32, load_64, ones, store_64


@inlined
def _count_nulls(validity: int, bit: int, n: int) -> int:
    valid = 0
    end = bit + n
    while bit < end:
        if bit & 7 == 0 and bit + 64 <= end:
            valid += ones(load_64(validity + (bit >> 3)))
            bit += 64
        else:
            valid += (load_8(validity + (bit >> 3)) >> (bit & 7)) & 1
            bit += 1
    return n - valid


@inlined
def _describe_texts(column: int, offsets: int, n: int, style: int) -> None:
    start = load_32(offsets)
    size = load_32(offsets + 4 * n) - start
    store_64(column + 32, offsets)
    store_64(column + 48, scan(load_64(column + 24) + start, size, style))
    store_64(column + 56, size)


@compiled("void(int64, int64, int64)")
def describe(batch: int, columns: int, style: int) -> None:
    """Fill the numbers of all columns (:mod:`app.cells.described`) but the first, which is there.

    ``batch`` is the address of a ``struct ArrowArray`` with the columns as its children.
    """
    for number in range(load_64(batch + 32)):
        array = load_64(load_64(batch + 48) + 8 * number)
        column = columns + number * COLUMN_BYTES
        n, first = load_64(array), load_64(array + 16)
        buffers = load_64(array + 40)
        validity = load_64(buffers)
        nulls = _count_nulls(validity, first, n) if validity != 0 else 0
        store_64(column + 8, validity if nulls else 0)
        store_64(column + 16, first)
        store_64(column + 40, nulls)
        kind = load_64(column)
        if kind == TEXTS:
            store_64(column + 24, load_64(buffers + 16))
            offsets = load_64(buffers + 8)
            if offsets != 0 and n > 0:
                _describe_texts(column, offsets + 4 * first, n, style)
        else:
            store_64(column + 24, load_64(buffers + 8) + (0 if kind == BITS else 8 * first))

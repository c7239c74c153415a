"""Sums of an image under a small kernel, for blocks of pixels that stay in registers.

What a compiler makes of the loops over taps reads and writes each sum once for every few taps. Here
the sums of four rows of 32 pixels are kept in vector registers until all taps are added; the order
and every fused multiply-add are written down, so that all machines give the same bits.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from app.pixels.taps import Vectors

BLOCK_ROWS: Final = 4
BLOCK_COLUMNS: Final = 32
_LANES: Final = 16
_INDEX: Final = ir.IntType(64)


@intrinsic
def _sum_block(
    _context: Any, plane: Any, row: Any, taps: Any, size_y: Any, size_x: Any, out: Any, out_row: Any
) -> Any:
    """Fill BLOCK_ROWS rows of BLOCK_COLUMNS pixels of ``out`` (its rows are ``out_row`` apart) from
    ``plane`` (rows ``row`` apart) and ``taps`` as :func:`padded_taps` lays them out. All are flat
    arrays that begin at the block's first pixel."""
    signature = types.void(plane, row, taps, size_y, size_x, out, out_row)

    def write(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data, weights, result = (
            context.make_array(signature.args[n])(context, builder, arguments[n]).data
            for n in (0, 2, 5)
        )
        vectors = Vectors(builder, _LANES)
        columns = range(0, BLOCK_COLUMNS, _LANES)
        nothing = ir.Constant(vectors.type, [0.0] * _LANES)
        sums = [
            [cgutils.alloca_once(builder, vectors.type) for _ in columns] for _ in range(BLOCK_ROWS)
        ]
        for line in sums:
            for each in line:
                builder.store(nothing, each)
        _, row_step, _, rows, size, _, out_step = arguments
        last = builder.add(rows, ir.Constant(_INDEX, BLOCK_ROWS - 1))
        with cgutils.for_range(builder, last) as over_y:
            start = builder.mul(over_y.index, row_step)
            first = builder.mul(over_y.index, size)
            with cgutils.for_range(builder, size) as over_x:
                at = builder.add(start, over_x.index)
                seen = [
                    vectors.load(data, builder.add(at, ir.Constant(_INDEX, c))) for c in columns
                ]
                tap = builder.add(first, over_x.index)
                for n, line in enumerate(sums):  # kernel row y - n; padded by BLOCK_ROWS - 1
                    back = builder.mul(ir.Constant(_INDEX, BLOCK_ROWS - 1 - n), size)
                    weight = builder.load(builder.gep(weights, [builder.add(tap, back)]))
                    spread = vectors.spread(weight)
                    for pixels, each in zip(seen, line, strict=True):
                        builder.store(vectors.fma(spread, pixels, builder.load(each)), each)
        for n, line in enumerate(sums):
            place = builder.mul(ir.Constant(_INDEX, n), out_step)
            for c, each in zip(columns, line, strict=True):
                vectors.store(
                    builder.load(each), result, builder.add(place, ir.Constant(_INDEX, c))
                )
        return context.get_dummy_value()

    return signature, write


def padded_taps(kernels: NDArray[np.float64]) -> NDArray[np.float32]:
    """Kernels (n, size, size) turned for correlation, with rows of zeros for the block's rows:
    (n, size + 2 BLOCK_ROWS - 2, size)."""
    n, size_y, size_x = kernels.shape
    edge = BLOCK_ROWS - 1
    taps = np.zeros((n, size_y + 2 * edge, size_x), dtype=np.float32)
    taps[:, edge : edge + size_y] = kernels[:, ::-1, ::-1]
    return taps


@njit(cache=True, nogil=True)
def correlate_block(
    padded: NDArray[np.float32], taps: NDArray[np.float32], y: int, x: int, out: NDArray[np.float32]
) -> None:
    """The BLOCK_ROWS x BLOCK_COLUMNS pixels of ``out`` at (y, x).

    ``padded`` holds, from (y, x) on, the block and the kernel around it; both planes are
    C-contiguous and hold the whole block. ``taps`` is one kernel of :func:`padded_taps`.
    """
    row, out_row = padded.shape[1], out.shape[1]
    size_y, size_x = taps.shape[0] - 2 * (BLOCK_ROWS - 1), taps.shape[1]
    _sum_block(
        padded.ravel()[y * row + x :],
        row,
        taps.ravel(),
        size_y,
        size_x,
        out.ravel()[y * out_row + x :],
        out_row,
    )

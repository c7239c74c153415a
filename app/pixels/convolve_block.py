"""Sums of an image under a small kernel, for blocks of pixels that stay in registers.

What a compiler makes of the loops over taps reads and writes each sum once for every few taps. Here
the sums of four rows of pixels are kept in vector registers until all taps are added: 64 pixels of
each where registers are wide and many, as AVX-512 has them, 32 elsewhere. The order and every fused
multiply-add are written down, so that all machines give the same bits.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from llvmlite import binding as llvm
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from app.pixels.taps import Vectors

BLOCK_ROWS: Final = 4
NARROW_COLUMNS: Final = 32
BLOCK_COLUMNS: Final = 64 if llvm.get_host_cpu_features().get("avx512f") else NARROW_COLUMNS
_LANES: Final = 16
_INDEX: Final = ir.IntType(64)


class _Block:
    """Writes the instructions that sum BLOCK_ROWS rows of some columns."""

    def __init__(self, builder: Any, columns: int, arguments: Any) -> None:
        self._plane, self._row, self._taps, self._high, self._wide, self._out, self._out_row = (
            arguments
        )
        self._builder = builder
        self._vectors = Vectors(builder, _LANES)
        self._columns = range(0, columns, _LANES)
        self._sums = [
            [cgutils.alloca_once(builder, self._vectors.type) for _ in self._columns]
            for _ in range(BLOCK_ROWS)
        ]

    def write(self) -> None:
        """Clear the sums, add what every row of the plane gives, store them."""
        b, above = self._builder, BLOCK_ROWS - 1
        for each in (each for line in self._sums for each in line):
            b.store(ir.Constant(self._vectors.type, [0.0] * _LANES), each)
        is_one_row = b.icmp_signed("<", self._high, _index(above))  # sizes are odd
        with b.if_else(is_one_row) as (one, more):
            with one:
                for n in range(BLOCK_ROWS):
                    self._add_row(_index(n), range(n, n + 1))
            with more:
                for n in range(above):
                    self._add_row(_index(n), range(n + 1))
                with cgutils.for_range_slice(b, _index(above), self._high, _index(1)) as (y, _):
                    self._add_row(y, range(BLOCK_ROWS))
                for n in range(above):
                    self._add_row(b.add(self._high, _index(n)), range(n + 1, BLOCK_ROWS))
        for n, line in enumerate(self._sums):
            place = b.mul(_index(n), self._out_row)
            for column, each in zip(self._columns, line, strict=True):
                self._vectors.store(b.load(each), self._out, b.add(place, _index(column)))

    def _add_row(self, y: Any, lines: range) -> None:
        """Add what row ``y`` of the plane gives to these rows of the block: to row n by the
        kernel's row y - n."""
        b = self._builder
        start, first = b.mul(y, self._row), b.mul(y, self._wide)
        with cgutils.for_range(b, self._wide) as over_x:
            at, tap = b.add(start, over_x.index), b.add(first, over_x.index)
            seen = [self._vectors.load(self._plane, b.add(at, _index(c))) for c in self._columns]
            for n in lines:
                place = b.sub(tap, b.mul(_index(n), self._wide))
                weight = self._vectors.spread(b.load(b.gep(self._taps, [place])))
                for pixels, each in zip(seen, self._sums[n], strict=True):
                    b.store(self._vectors.fma(weight, pixels, b.load(each)), each)


def _index(value: int) -> Any:
    return ir.Constant(_INDEX, value)


def _sum_of(columns: int) -> Any:
    """The intrinsic that fills BLOCK_ROWS rows of ``columns`` pixels of ``out`` (its rows are
    ``out_row`` apart) from ``plane`` (rows ``row`` apart) and ``taps`` (``high`` x ``wide``) as
    :func:`turned_taps` has them. All are flat arrays that begin at the block's first pixel."""

    def sum_block(
        _context: Any, plane: Any, row: Any, taps: Any, high: Any, wide: Any, out: Any, out_row: Any
    ) -> Any:
        def write(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            data = [
                context.make_array(kind)(context, builder, each).data
                if isinstance(kind, types.Array)
                else each
                for kind, each in zip(signature.args, arguments, strict=True)
            ]
            _Block(builder, columns, data).write()
            return context.get_dummy_value()

        return types.void(plane, row, taps, high, wide, out, out_row), write

    return intrinsic(sum_block)


_sum_block = _sum_of(BLOCK_COLUMNS)
_sum_narrow = _sum_of(NARROW_COLUMNS)


def turned_taps(kernels: NDArray[np.float64]) -> NDArray[np.float32]:
    """Kernels (n, size, size) turned for correlation."""
    return kernels[:, ::-1, ::-1].astype(np.float32, order="C")


@njit(cache=True, nogil=True)
def correlate_block(
    padded: NDArray[np.float32], taps: NDArray[np.float32], y: int, x: int, out: NDArray[np.float32]
) -> None:
    """The BLOCK_ROWS x BLOCK_COLUMNS pixels of ``out`` at (y, x).

    ``padded`` holds, from (y, x) on, the block and the kernel around it; both planes are
    C-contiguous and hold the whole block. ``taps`` is one kernel of :func:`turned_taps`.
    """
    row, wide = padded.shape[1], out.shape[1]
    source, target = padded.ravel()[y * row + x :], out.ravel()[y * wide + x :]
    _sum_block(source, row, taps.ravel(), taps.shape[0], taps.shape[1], target, wide)


@njit(cache=True, nogil=True)
def correlate_narrow(
    padded: NDArray[np.float32], taps: NDArray[np.float32], y: int, x: int, out: NDArray[np.float32]
) -> None:
    """As :func:`correlate_block`, of NARROW_COLUMNS."""
    row, wide = padded.shape[1], out.shape[1]
    source, target = padded.ravel()[y * row + x :], out.ravel()[y * wide + x :]
    _sum_narrow(source, row, taps.ravel(), taps.shape[0], taps.shape[1], target, wide)

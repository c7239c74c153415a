"""Weighted sums over the taps of a stencil, several floats at a time.

What a compiler makes of the plain loops over six by six taps is a third as fast, and where it adds
in another order the last bits differ from machine to machine. Here vector instructions, their order
and every fused multiply-add are written down, so that all machines give the same bits.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core.cgutils import get_or_insert_function, unpack_tuple
from numba.extending import intrinsic
from numpy.typing import NDArray

_FLOAT: Final = ir.FloatType()
_INDEX: Final = ir.IntType(64)
_LANE: Final = ir.IntType(32)


def lanes_of(taps: int) -> int:
    """Floats that one row of a stencil of ``taps`` reads: the taps and some of weight 0."""
    return 8 if taps <= 8 else 16


def padded_table(table: NDArray[np.float32]) -> NDArray[np.float32]:
    """A table of :mod:`app.pixels.stencil` as :func:`tap_sums` reads it, zeros in spare lanes."""
    phases, taps = table.shape
    wide = np.zeros((phases, lanes_of(taps)), dtype=np.float32)
    wide[:, :taps] = table
    return wide


class _Vectors:
    """Writes vector instructions of one width."""

    def __init__(self, builder: Any, lanes: int) -> None:
        self._builder = builder
        self._lanes = lanes
        self._type = ir.VectorType(_FLOAT, lanes)
        kind = ir.FunctionType(self._type, [self._type] * 3)
        self._fma = get_or_insert_function(builder.module, kind, f"llvm.fma.v{lanes}f32")

    def load(self, array: Any, row: Any, column: Any) -> Any:
        """Consecutive floats of a 2-D array from (row, column) on."""
        b = self._builder
        offset = b.add(b.mul(row, b.extract_value(array.shape, 1)), column)
        return b.load(b.bitcast(b.gep(array.data, [offset]), self._type.as_pointer()), align=4)

    def shuffled(self, vector: Any, lanes: list[int]) -> Any:
        """The named lanes of a vector."""
        order = ir.Constant(ir.VectorType(_LANE, len(lanes)), lanes)
        return self._builder.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined), order)

    def lane(self, vector: Any, index: int) -> Any:
        """One lane, in all lanes."""
        return self.shuffled(vector, [index] * self._lanes)

    def spread(self, number: Any) -> Any:
        """A float in all lanes."""
        nothing = ir.Constant(self._type, ir.Undefined)
        first = self._builder.insert_element(nothing, number, ir.Constant(_LANE, 0))
        return self.lane(first, 0)

    def fma(self, a: Any, b: Any, c: Any) -> Any:
        """a b + c, rounded once."""
        return self._builder.call(self._fma, [a, b, c])

    def total(self, vector: Any) -> Any:
        """The sum of all lanes, halves first."""
        count = self._lanes
        while count > 1:
            count //= 2
            low = self.shuffled(vector, list(range(count)))
            high = self.shuffled(vector, list(range(count, 2 * count)))
            vector = self._builder.fadd(low, high)
        return self._builder.extract_element(vector, ir.Constant(_LANE, 0))


@intrinsic(prefer_literal=True)
def _tap_sums(
    _context: Any,
    flux: Any,
    variance: Any,
    first: Any,
    table: Any,
    entry: Any,
    part: Any,
    taps: Any,
) -> Any:
    """:func:`tap_sums` for a literal number of taps."""
    count = int(taps.literal_value)
    pair = types.UniTuple(types.float32, 2)
    signature = pair(flux, variance, first, table, entry, part, taps)

    def write(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        arrays = [
            context.make_array(signature.args[place])(context, builder, arguments[place])
            for place in (0, 1, 3)
        ]
        pairs = [unpack_tuple(builder, arguments[place]) for place in (2, 4, 5)]
        sums = _write_sums(builder, _Vectors(builder, lanes_of(count)), arrays, pairs, count)
        return context.make_tuple(builder, signature.return_type, sums)

    return signature, write


def _write_sums(
    builder: Any, vectors: _Vectors, arrays: list[Any], pairs: list[list[Any]], taps: int
) -> list[Any]:
    flux, variance, table = arrays
    (y, x), (entry_y, entry_x), (part_y, part_x) = pairs

    def weights(row: Any, part: Any) -> Any:
        low = vectors.load(table, row, ir.Constant(_INDEX, 0))
        following = builder.add(row, ir.Constant(_INDEX, 1))
        high = vectors.load(table, following, ir.Constant(_INDEX, 0))
        return vectors.fma(builder.fsub(high, low), vectors.spread(part), low)

    along_y, along_x = weights(entry_y, part_y), weights(entry_x, part_x)
    squared_y, squared_x = builder.fmul(along_y, along_y), builder.fmul(along_x, along_x)
    value = noise = ir.Constant(along_y.type, [0.0] * lanes_of(taps))
    for tap in range(taps):
        row = builder.add(y, ir.Constant(_INDEX, tap))
        value = vectors.fma(vectors.lane(along_y, tap), vectors.load(flux, row, x), value)
        noise = vectors.fma(vectors.lane(squared_y, tap), vectors.load(variance, row, x), noise)
    return [
        vectors.total(builder.fmul(value, along_x)),
        vectors.total(builder.fmul(noise, squared_x)),
    ]


@njit(cache=True, nogil=True, inline="always")
def tap_sums(
    flux: NDArray[np.float32],
    variance: NDArray[np.float32],
    first: tuple[int, int],
    table: NDArray[np.float32],
    entry: tuple[int, int],
    part: tuple[np.float32, np.float32],
    taps: int,
) -> tuple[np.float32, np.float32]:
    """(sum w_y w_x flux, sum (w_y w_x)^2 variance) over a window of two planes, for numba code.

    ``first`` (y, x) is the first tap. Weights of each axis lie ``part`` of the way (0…1) from row
    ``entry`` of the padded table to the next. ``taps`` is 2, 6 or 10. Each row of the window is
    read ``lanes_of(taps)`` pixels wide: they must lie in the planes and be finite.
    """
    if taps == 6:
        sums = _tap_sums(flux, variance, first, table, entry, part, 6)
    elif taps == 10:
        sums = _tap_sums(flux, variance, first, table, entry, part, 10)
    else:
        sums = _tap_sums(flux, variance, first, table, entry, part, 2)
    return sums  # type: ignore[no-any-return]

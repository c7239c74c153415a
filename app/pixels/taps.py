"""Weighted sums over the taps of a stencil, several floats at a time.

What a compiler makes of the plain loops over six by six taps is a third as fast, and where it adds
in another order the last bits differ from machine to machine. Here vector instructions, their order
and every fused multiply-add are written down, so that all machines give the same bits. Flux and
variance lie side by side, so that one vector holds both and one set of instructions sums both.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core.cgutils import get_or_insert_function
from numba.extending import intrinsic
from numpy.typing import NDArray

_FLOAT: Final = ir.FloatType()
_INDEX: Final = ir.IntType(64)
_LANE: Final = ir.IntType(32)


def lanes_of(taps: int) -> int:
    """Pixels that one row of a stencil of ``taps`` reads: the taps and some of weight 0."""
    return 8 if taps <= 8 else 16


def padded_table(table: NDArray[np.float32]) -> NDArray[np.float32]:
    """A table of :mod:`app.pixels.stencil` as :func:`sum_taps` reads it, zeros in spare lanes."""
    phases, taps = table.shape
    wide = np.zeros((phases, lanes_of(taps)), dtype=np.float32)
    wide[:, :taps] = table
    return wide


class Vectors:
    """Writes vector instructions of one width."""

    def __init__(self, builder: Any, lanes: int) -> None:
        self._builder = builder
        self.lanes = lanes
        self.type = ir.VectorType(_FLOAT, lanes)
        kind = ir.FunctionType(self.type, [self.type] * 3)
        self._fma = get_or_insert_function(builder.module, kind, f"llvm.fma.v{lanes}f32")

    def load(self, data: Any, place: Any) -> Any:
        """Consecutive floats from ``place`` on."""
        b = self._builder
        return b.load(b.bitcast(b.gep(data, [place]), self.type.as_pointer()), align=4)

    def store(self, vector: Any, data: Any, place: Any) -> None:
        """To consecutive floats from ``place`` on."""
        b = self._builder
        b.store(vector, b.bitcast(b.gep(data, [place]), self.type.as_pointer()), align=4)

    def shuffled(self, vector: Any, lanes: list[int], other: Any = None) -> Any:
        """The named lanes of a vector, or of two."""
        order = ir.Constant(ir.VectorType(_LANE, len(lanes)), lanes)
        second = ir.Constant(vector.type, ir.Undefined) if other is None else other
        return self._builder.shuffle_vector(vector, second, order)

    def spread(self, number: Any) -> Any:
        """A float in all lanes."""
        nothing = ir.Constant(self.type, ir.Undefined)
        first = self._builder.insert_element(nothing, number, ir.Constant(_LANE, 0))
        return self.shuffled(first, [0] * self.lanes)

    def fma(self, a: Any, b: Any, c: Any) -> Any:
        """a b + c, rounded once."""
        return self._builder.call(self._fma, [a, b, c])


@intrinsic(prefer_literal=True)
def _pair_sums(
    _context: Any, pairs: Any, place: Any, row: Any, table: Any, entries: Any, parts: Any, taps: Any
) -> Any:
    """The sums of :func:`sum_taps` for one window and a literal number of taps.

    ``entries`` are places in the flat table; x first.
    """
    count = int(taps.literal_value)
    signature = types.UniTuple(types.float32, 2)(pairs, place, row, table, entries, parts, taps)

    def write(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data, weights = (
            context.make_array(signature.args[n])(context, builder, arguments[n]).data
            for n in (0, 3)
        )
        axes = [
            (builder.extract_value(arguments[4], n), builder.extract_value(arguments[5], n))
            for n in (0, 1)
        ]
        sums = _write_sums(builder, data, arguments[1], arguments[2], weights, axes, count)
        return context.make_tuple(builder, signature.return_type, sums)

    return signature, write


def _write_sums(
    builder: Any,
    data: Any,
    place: Any,
    row: Any,
    table: Any,
    axes: list[tuple[Any, Any]],
    taps: int,
) -> list[Any]:
    lanes = lanes_of(taps)
    single, double = Vectors(builder, lanes), Vectors(builder, 2 * lanes)

    def weights(entry: Any, part: Any) -> Any:
        """w and w^2 side by side."""
        low = single.load(table, entry)
        high = single.load(table, builder.add(entry, ir.Constant(_INDEX, lanes)))
        w = single.fma(builder.fsub(high, low), single.spread(part), low)
        mixed = [lane + lanes * half for lane in range(lanes) for half in (0, 1)]
        return single.shuffled(w, mixed, builder.fmul(w, w))

    along_x, along_y = (weights(*axis) for axis in axes)
    total = ir.Constant(double.type, [0.0] * (2 * lanes))
    for tap in range(taps):
        weight = double.shuffled(along_y, [2 * tap, 2 * tap + 1] * lanes)
        total = double.fma(weight, double.load(data, place), total)
        place = builder.add(place, row)
    total = builder.fmul(total, along_x)
    while lanes > 1:  # halves first
        low = double.shuffled(total, list(range(lanes)))
        high = double.shuffled(total, list(range(lanes, 2 * lanes)))
        total = builder.fadd(low, high)
        lanes //= 2
    return [builder.extract_element(total, ir.Constant(_LANE, n)) for n in (0, 1)]


@njit(cache=True, nogil=True)
def sum_taps(
    pairs: NDArray[np.float32],
    row: int,
    table: NDArray[np.float32],
    taps: int,
    count: int,
    places: NDArray[np.int64],
    parts: NDArray[np.float32],
    sums: NDArray[np.float32],
) -> None:
    """Fill ``sums`` (2, …): sum w_y w_x flux and sum (w_y w_x)^2 variance of ``count`` windows.

    ``pairs`` is flux and variance by turns, of rows of ``row`` pixels; it is flat, as is the padded
    ``table``. ``places`` (3, …) are the first pixel of each window, and the first entry in the
    table of its weights along x and along y, which lie ``parts`` (2, …; 0 to 1) of the way to the
    next. ``taps`` is 2, 6 or 10. Each row of a window is read ``lanes_of(taps)`` pixels wide: they
    must lie in the planes, and what is not finite there makes a sum that is not.
    """
    step = 2 * row
    for n in range(count):
        place, entries = 2 * places[0, n], (places[1, n], places[2, n])
        part = (parts[0, n], parts[1, n])
        if taps == 6:
            value, noise = _pair_sums(pairs, place, step, table, entries, part, 6)
        elif taps == 10:
            value, noise = _pair_sums(pairs, place, step, table, entries, part, 10)
        else:
            value, noise = _pair_sums(pairs, place, step, table, entries, part, 2)
        sums[0, n], sums[1, n] = value, noise

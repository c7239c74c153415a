"""What compiled code needs of the machine: memory by address, and products of 128 bits.

Everything is an int64: addresses, positions, bytes read. One type keeps numba from mixing signed
and unsigned integers into floats, and makes every kernel's signature plain.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

_I8: Final = ir.IntType(8)
_I16: Final = ir.IntType(16)
_I32: Final = ir.IntType(32)
_I64: Final = ir.IntType(64)
_I128: Final = ir.IntType(128)
_F32: Final = ir.FloatType()
_F64: Final = ir.DoubleType()

Function = TypeVar("Function", bound=Callable[..., Any])
Build = Callable[[Any, Any], Any]


def compiled(signature: str) -> Callable[[Function], Function]:
    """``numba.njit`` for one signature, without the GIL, kept on disk where a disk takes it.

    numba keeps compiled code beside the source, in the user's cache or in ``NUMBA_CACHE_DIR``;
    where none of them can be written it refuses to compile, and then every process compiles anew.
    """

    def decorate(function: Function) -> Function:
        try:
            made = njit(signature, cache=True, nogil=True)(function)
        except RuntimeError as error:
            if "cannot cache" not in str(error):
                raise
            made = njit(signature, nogil=True)(function)
        return made  # type: ignore[no-any-return]  # numba is untyped

    return decorate


def inlined(function: Function) -> Function:
    """A helper that becomes part of every kernel that calls it."""
    return njit(nogil=True)(function)  # type: ignore[no-any-return]  # numba is untyped


def _load(element: ir.Type, result: Any, widen: Build | None = None) -> Any:
    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        value = builder.load(builder.inttoptr(arguments[0], element.as_pointer()), align=1)
        return widen(builder, value) if widen else value

    def typed(typing_context: Any, address: Any) -> Any:
        return result(types.int64), build

    return intrinsic(typed)


def _store(element: ir.Type, kind: Any, *, swapped: bool = False) -> Any:
    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        address, value = arguments
        if isinstance(element, ir.IntType) and element.width < 64:
            value = builder.trunc(value, element)
        if swapped:
            value = builder.bswap(value)
        builder.store(value, builder.inttoptr(address, element.as_pointer()), align=1)
        return context.get_dummy_value()

    def typed(typing_context: Any, address: Any, value: Any) -> Any:
        return types.void(types.int64, kind), build

    return intrinsic(typed)


Load = Callable[[int], int]
load_8: Load = _load(_I8, types.int64, lambda builder, value: builder.zext(value, _I64))
load_32: Load = _load(_I32, types.int64, lambda builder, value: builder.sext(value, _I64))
load_64: Load = _load(_I64, types.int64)
load_big_64: Load = _load(_I64, types.int64, lambda builder, value: builder.bswap(value))
load_double: Callable[[int], float] = _load(_F64, types.float64)

store_8 = _store(_I8, types.int64)
store_16 = _store(_I16, types.int64)
store_32 = _store(_I32, types.int64)
store_64 = _store(_I64, types.int64)
store_double = _store(_F64, types.float64)
store_big_16 = _store(_I16, types.int64, swapped=True)
store_big_32 = _store(_I32, types.int64, swapped=True)
store_big_64 = _store(_I64, types.int64, swapped=True)


BLOCK: Final = 32
"""Bytes that are looked at together."""


def _which(test: Build) -> Any:
    """A look at BLOCK bytes: a number with a bit for each of them that passes ``test``, which
    compares a vector of them."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        block = ir.VectorType(_I8, BLOCK)
        value = builder.load(builder.inttoptr(arguments[0], block.as_pointer()), align=1)
        bits = builder.bitcast(test(builder, value), ir.IntType(BLOCK))
        return builder.zext(bits, _I64)

    def typed(typing_context: Any, address: Any) -> Any:
        return types.int64(types.int64), build

    return intrinsic(typed)


def _is_any(values: Sequence[int], below: int = 0) -> Build:
    """Whether a byte is one of ``values`` or less than ``below``."""

    def test(builder: Any, block: Any) -> Any:
        found = builder.icmp_unsigned("<", block, ir.Constant(block.type, [below] * BLOCK))
        for value in values:
            same = builder.icmp_unsigned("==", block, ir.Constant(block.type, [value] * BLOCK))
            found = builder.or_(found, same)
        return found

    return test


def _is_beyond_ascii(builder: Any, block: Any) -> Any:
    return builder.icmp_signed("<", block, ir.Constant(block.type, [0] * BLOCK))


def which(values: Sequence[int], *, below: int = 0) -> Load:
    """A look at BLOCK bytes: bits of those that are one of ``values`` or less than ``below``."""
    look: Load = _which(_is_any(values, below))
    return look


which_beyond_ascii: Load = _which(_is_beyond_ascii)
"""A look at BLOCK bytes: bits of those that are 128 or more."""


def _copy(typing_context: Any, target: Any, source: Any, n_bytes: Any) -> Any:
    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = _I8.as_pointer()
        target, source = (builder.inttoptr(each, pointer) for each in arguments[:2])
        cgutils.raw_memcpy(builder, target, source, arguments[2], 1)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), build


copy: Callable[[int, int, int], None] = intrinsic(_copy)
"""``copy(target, source, n_bytes)``: memcpy."""


def _fill(typing_context: Any, target: Any, value: Any, n_bytes: Any) -> Any:
    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = builder.inttoptr(arguments[0], _I8.as_pointer())
        cgutils.memset(builder, pointer, arguments[2], builder.trunc(arguments[1], _I8))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), build


fill: Callable[[int, int, int], None] = intrinsic(_fill)
"""``fill(target, value, n_bytes)``: memset."""


def _high_product(typing_context: Any, left: Any, right: Any) -> Any:
    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        left, right = (builder.zext(each, _I128) for each in arguments)
        upper = builder.lshr(builder.mul(left, right), ir.Constant(_I128, 64))
        return builder.trunc(upper, _I64)

    return types.int64(types.int64, types.int64), build


high_product: Callable[[int, int], int] = intrinsic(_high_product)
"""The upper 64 bits of the product of two numbers that are not negative."""


def _leading_zeros(typing_context: Any, value: Any) -> Any:
    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ctlz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.int64), build


leading_zeros: Callable[[int], int] = intrinsic(_leading_zeros)
"""How many of the upper bits of a 64-bit number are 0; ``value`` is not 0."""


def _ones(typing_context: Any, value: Any) -> Any:
    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.int64(types.int64), build


ones: Callable[[int], int] = intrinsic(_ones)
"""How many bits of a number are 1."""


def _bits_of_double(typing_context: Any, value: Any) -> Any:
    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], _I64)

    return types.int64(types.float64), build


bits_of_double: Callable[[float], int] = intrinsic(_bits_of_double)
"""The 64 bits of a double."""


def _bits_of_float(typing_context: Any, value: Any) -> Any:
    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        narrow = builder.fptrunc(arguments[0], _F32)
        return builder.zext(builder.bitcast(narrow, _I32), _I64)

    return types.int64(types.float64), build


bits_of_float: Callable[[float], int] = intrinsic(_bits_of_float)
"""The 32 bits of the float nearest to a double, as a number that is not negative."""

"""Rows of many inputs handed to compiled code where they lie, without a copy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray, njit, types
from numba.core.cgutils import get_or_insert_function
from numba.extending import intrinsic
from numpy.typing import NDArray

from app.pixels.image import MaskedImage

Image = NDArray[np.float32]
Mask = NDArray[np.int32]
Places = NDArray[np.int64]
Rows = tuple[Places, int, int]
"""Where inputs lie: addresses (3, N) of flux, variance (float32) and mask (int32) planes, each
C-contiguous of the rows and columns that follow. Whoever calls keeps the planes alive."""


@intrinsic
def _floats_at(_context: Any, address: Any) -> Any:
    """An address as a pointer to float32."""
    return types.CPointer(types.float32)(address), _as_pointer(ir.FloatType())


@intrinsic
def _masks_at(_context: Any, address: Any) -> Any:
    """An address as a pointer to int32."""
    return types.CPointer(types.int32)(address), _as_pointer(ir.IntType(32))


def _as_pointer(kind: Any) -> Any:
    def write(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], kind.as_pointer())

    return write


def rows_of(planes: Sequence[MaskedImage]) -> Rows:
    """Where images of one shape lie; their planes must be C-contiguous and of those types."""
    names = ("flux", "variance", "mask")
    places = [[getattr(each, name).ctypes.data for each in planes] for name in names]
    return np.array(places, dtype=np.int64), *planes[0].shape


@njit(cache=True, nogil=True)
def plane_rows(rows: Rows, n: int) -> tuple[Image, Image, Mask]:
    """Flux, variance and mask of one input."""
    places, ny, nx = rows
    return (
        carray(_floats_at(places[0, n]), (ny, nx)),
        carray(_floats_at(places[1, n]), (ny, nx)),
        carray(_masks_at(places[2, n]), (ny, nx)),
    )


@intrinsic
def _fetch(_context: Any, address: Any) -> Any:
    """Ask for the cache line at an address; nothing happens where there is no memory."""

    def write(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        word, place = ir.IntType(32), ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [place, word, word, word])
        call = get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        told = [ir.Constant(word, n) for n in (0, 3, 1)]
        builder.call(call, [builder.inttoptr(arguments[0], place), *told])
        return ir.Constant(ir.IntType(64), 0)

    return types.int64(address), write


@njit(cache=True, nogil=True)
def fetch_run(rows: Rows, n: int, y: int, x: int, size: int) -> None:
    """Have ``size`` pixels of one input brought to the cache that are soon wanted.

    A stack reads so many planes by turns that processors do not foresee it."""
    places, _, nx = rows
    first = 4 * (y * nx + x)
    for plane in range(3):
        for line in range(0, 4 * size, 64):
            _fetch(places[plane, n] + first + line)

"""Rows of many inputs handed to compiled code where they lie, without a copy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray, njit, types
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

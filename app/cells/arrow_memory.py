"""Arrow columns by the addresses of their memory, all of a batch at once (the Arrow C data
interface): what takes pyarrow's Python classes a call per column and buffer."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

_WORDS: Final = 10
"""int64 of a ``struct ArrowArray``: length, null_count, offset, n_buffers, n_children, buffers,
children, dictionary, release, private_data."""
_MOST_BUFFERS: Final = 3
_UNKNOWN: Final = -1

_pointer_in: Final = ctypes.pythonapi.PyCapsule_GetPointer
_pointer_in.restype, _pointer_in.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)

_RELEASE = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
_alive: Final[dict[int, object]] = {}
"""What the batches that were made here need, by the ``private_data`` of each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    """Where the buffers of each column lie; ``offsets`` is 0 for columns that are no texts."""

    validity: NDArray[np.int64]
    offsets: NDArray[np.int64]
    values: NDArray[np.int64]


def batch_of(schema: pa.Schema, n_rows: int, addresses: Addresses, kept: object) -> pa.RecordBatch:
    """A batch of columns of int64, double, bool or string that lie at ``addresses``; ``kept`` owns
    the memory and stays alive as long as the batch or a part of it does."""
    n = len(addresses.values)
    words = np.zeros(_WORDS * (n + 1) + n + _MOST_BUFFERS * n + 1, np.int64)
    base = words.ctypes.data
    arrays = words[: _WORDS * (n + 1)].reshape(n + 1, _WORDS)
    children = words[_WORDS * (n + 1) :][:n]
    buffers = words[_WORDS * (n + 1) + n :][: _MOST_BUFFERS * n].reshape(n, _MOST_BUFFERS)
    is_text = addresses.offsets != 0
    buffers[:, 0] = addresses.validity
    buffers[:, 1] = np.where(is_text, addresses.offsets, addresses.values)
    buffers[:, 2] = addresses.values
    children[:] = base + 8 * _WORDS * np.arange(1, n + 1)
    arrays[:, 0] = n_rows
    arrays[1:, 1] = _UNKNOWN
    arrays[1:, 3] = np.where(is_text, 3, 2)
    arrays[1:, 5] = buffers.ctypes.data + 8 * _MOST_BUFFERS * np.arange(n)
    arrays[:, 8] = _RELEASE_ADDRESS
    arrays[:, 9] = base
    arrays[0, 3:7] = 1, n, base + 8 * (len(words) - 1), children.ctypes.data
    _alive[base] = (words, kept)
    return pa.RecordBatch._import_from_c(base, schema)


def exported(batch: pa.RecordBatch) -> tuple[int, object]:
    """Address of the ``struct ArrowArray`` of a batch, and what must stay alive meanwhile."""
    capsule = batch.__arrow_c_array__()[1]
    return _pointer_in(capsule, b"arrow_array"), capsule


def _forget(address: int) -> None:
    """The ``release`` of a batch: pyarrow moves no column out of its batch, so it calls that of
    the batch alone."""
    array = (ctypes.c_int64 * _WORDS).from_address(address)
    array[8] = 0
    _alive.pop(array[9], None)


_release = _RELEASE(_forget)
_RELEASE_ADDRESS: Final[Any] = ctypes.cast(_release, ctypes.c_void_p).value

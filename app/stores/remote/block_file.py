"""A sparse file as long as one that lies elsewhere, and which of its blocks are there.

Behind the bytes of the file stands a byte for each of its blocks, 1 where it is there. It is set
after the block was flushed to the disk, so that neither a killed process nor a power failure leaves
a block that is told to be there and is not. Threads and processes may write the same file: they
write the same bytes to the same places.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from app.errors import StorageFullError
from app.stores.cache_files import lock_shared
from app.stores.files_atomic import FULL

BLOCK_BYTES: Final = 512
"""Rows of a small cutout are some hundred bytes: of larger blocks most bytes would be in vain."""
REQUEST_BYTES: Final = 2 << 20
"""Longer pieces are asked for in parts, several at the same time."""

Span = tuple[int, int]
"""Bytes from start up to but without stop."""


class BlockFile:
    """The file at ``path``, made if it is not there, of one that has ``size_bytes``. It is marked
    as in use until it is closed. Raises StorageFullError."""

    def __init__(self, path: Path, size_bytes: int) -> None:
        self._size = size_bytes
        self._marks = -(-size_bytes // BLOCK_BYTES) * BLOCK_BYTES
        path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            self.descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            lock_shared(self.descriptor)
            if os.fstat(self.descriptor).st_nlink:
                break
            os.close(self.descriptor)  # it was deleted before it was marked
        with _full(path.name):
            os.ftruncate(self.descriptor, self._marks + self._marks // BLOCK_BYTES)

    def missing(self, spans: Sequence[Span], gap_bytes: int) -> list[Span]:
        """What must be fetched so that ``spans`` are there; short gaps between its parts are
        fetched with them, long parts are divided."""
        bounds = np.asarray(spans, dtype=np.int64).reshape(-1, 2)
        first, last = bounds[:, 0] // BLOCK_BYTES, -(-bounds[:, 1] // BLOCK_BYTES)
        low, high = int(first.min()), int(last.max())
        steps = np.zeros(high - low + 1, dtype=np.int64)
        np.add.at(steps, first - low, 1)
        np.subtract.at(steps, last - low, 1)
        there = np.frombuffer(
            os.pread(self.descriptor, high - low, self._marks + low), dtype=np.uint8
        )
        lacking = (np.cumsum(steps[:-1]) > 0) & (there == 0)
        edges = np.flatnonzero(np.diff(lacking, prepend=False, append=False))
        runs = _joined(edges.reshape(-1, 2) + low, -(-gap_bytes // BLOCK_BYTES))
        step = REQUEST_BYTES // BLOCK_BYTES
        return [
            (part * BLOCK_BYTES, min(min(part + step, stop) * BLOCK_BYTES, self._size))
            for start, stop in runs.tolist()
            for part in range(start, stop, step)
        ]

    def put(self, start: int, content: Any) -> None:
        """Write fetched bytes; :meth:`confirm` makes them count. Raises StorageFullError."""
        with _full("a file from elsewhere"):
            left = memoryview(content).cast("B")
            while left:
                done = os.pwrite(self.descriptor, left, start)
                start, left = start + done, left[done:]

    def confirm(self, spans: Sequence[Span]) -> None:
        """Mark spans, as :meth:`missing` gave them, as there. Raises StorageFullError."""
        with _full("a file from elsewhere"):
            os.fsync(self.descriptor)
            for start, stop in spans:
                first, last = start // BLOCK_BYTES, -(-stop // BLOCK_BYTES)
                os.pwrite(self.descriptor, b"\1" * (last - first), self._marks + first)

    def close(self) -> None:
        """Mark it as used just now, and close it."""
        os.utime(self.descriptor)
        os.close(self.descriptor)


def _joined(runs: NDArray[np.int64], gap: int) -> NDArray[np.int64]:
    """Runs (n, 2) of blocks, those joined between which no more lies than ``gap``, or than each
    of the two has: at most half of what is read was not asked for."""
    if len(runs) < 2:
        return runs
    lengths = runs[:, 1] - runs[:, 0]
    between = runs[1:, 0] - runs[:-1, 1]
    apart = between > np.maximum(gap, np.minimum(lengths[1:], lengths[:-1]))
    first = np.flatnonzero(np.concatenate(([True], apart)))
    last = np.flatnonzero(np.concatenate((apart, [True])))
    return np.stack((runs[first, 0], runs[last, 1]), axis=1)


@contextmanager
def _full(name: str) -> Iterator[None]:
    """A full disk as StorageFullError."""
    try:
        yield
    except OSError as fault:
        if fault.errno in FULL:
            raise StorageFullError(name) from fault
        raise

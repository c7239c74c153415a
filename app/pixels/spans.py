"""Sets of pixels as runs along rows: what artefacts, trails and footprints are kept as.

A mask of a large image is a megabyte for every million pixels, whatever it marks; runs take as
much as there is to tell, so that every input of a stack can have its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

Runs = NDArray[np.int32]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Spans:
    """Runs of pixels ``x_start <= x < x_stop`` on row ``y``.

    The three int32 arrays are sorted by (y, x_start); runs neither touch nor overlap.
    """

    y: Runs
    x_start: Runs
    x_stop: Runs

    @classmethod
    def empty(cls) -> Spans:
        """No pixels."""
        nothing = np.zeros(0, dtype=np.int32)
        return cls(nothing, nothing, nothing)

    @classmethod
    def from_mask(cls, mask: Bools, *, first_row: int = 0) -> Spans:
        """The True pixels of ``mask`` (ny, nx), whose first row is row ``first_row``."""
        ny, nx = mask.shape
        framed = np.zeros((ny, nx + 1), dtype=np.bool_)
        framed[:, :nx] = mask
        flat = framed.ravel()
        change = np.flatnonzero(flat[1:] != flat[:-1]) + 1
        if flat.size and flat[0]:
            change = np.concatenate([[0], change])
        start, stop = change[::2], change[1::2]
        y = start // (nx + 1)
        left = y * (nx + 1)
        return cls(_int32(y + first_row), _int32(start - left), _int32(stop - left))

    @classmethod
    def from_runs(cls, y: NDArray[np.integer], x_start: Runs, x_stop: Runs) -> Spans:
        """The pixels of runs in any order, which may touch or overlap."""
        order = np.lexsort((x_start, y))
        return cls(*_joined(_int32(y[order]), _int32(x_start[order]), _int32(x_stop[order])))

    def __len__(self) -> int:
        return len(self.y)

    @property
    def count(self) -> int:
        """How many pixels."""
        return int((self.x_stop.astype(np.int64) - self.x_start).sum())

    def rows(self, start: int, stop: int, nx: int) -> Bools:
        """Rows ``start <= y < stop`` as a mask of ``nx`` columns; runs are cut to the columns."""
        mask = np.zeros((stop - start, nx), dtype=np.bool_)
        _paint(*self._between(start, stop), start, mask)
        return mask

    def _between(self, start: int, stop: int) -> tuple[Runs, Runs, Runs]:
        first, last = np.searchsorted(self.y, [start, stop])
        return self.y[first:last], self.x_start[first:last], self.x_stop[first:last]


def union(parts: Iterable[Spans]) -> Spans:
    """The pixels that are in any of ``parts``."""
    filled = [part for part in parts if len(part)]
    if len(filled) <= 1:
        return filled[0] if filled else Spans.empty()
    return Spans.from_runs(
        np.concatenate([part.y for part in filled]),
        np.concatenate([part.x_start for part in filled]),
        np.concatenate([part.x_stop for part in filled]),
    )


@njit(cache=True, nogil=True)
def _paint(y: Runs, x_start: Runs, x_stop: Runs, first_row: int, mask: Bools) -> None:
    """Set the pixels of the runs in ``mask``, whose first row is ``first_row``."""
    for k in range(y.size):
        for x in range(max(0, x_start[k]), min(mask.shape[1], x_stop[k])):
            mask[y[k] - first_row, x] = True


@njit(cache=True, nogil=True)
def _joined(y: Runs, x_start: Runs, x_stop: Runs) -> tuple[Runs, Runs, Runs]:
    """Sorted runs with those that touch or overlap made one."""
    row, left, right = y.copy(), x_start.copy(), x_stop.copy()
    if y.size == 0:
        return row, left, right
    last = 0
    for k in range(1, y.size):
        if y[k] == row[last] and x_start[k] <= right[last]:
            right[last] = max(right[last], x_stop[k])
        else:
            last += 1
            row[last], left[last], right[last] = y[k], x_start[k], x_stop[k]
    return row[: last + 1], left[: last + 1], right[: last + 1]


def _int32(values: NDArray[np.integer]) -> Runs:
    return values.astype(np.int32)

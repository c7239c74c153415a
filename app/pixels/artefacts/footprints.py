"""Connected sets of pixels: labelled, measured, grown."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from app.pixels.spans import Runs, Spans

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Footprints:
    """Pixels that touch by a side or a corner share one of ``count`` labels (one for each run)."""

    spans: Spans
    labels: Ints
    count: int

    @classmethod
    def of(cls, spans: Spans) -> Footprints:
        """The connected parts of ``spans``."""
        labels = _label(spans.y, spans.x_start, spans.x_stop)
        names, places = np.unique(labels, return_inverse=True)
        return cls(spans, places.astype(np.int64).reshape(-1), len(names))

    def areas(self) -> Ints:
        """Pixels of each footprint."""
        return self._sums((self.spans.x_stop - self.spans.x_start).astype(np.int64))

    def count_in(self, mask: Bools) -> Ints:
        """How many pixels of each footprint are True in ``mask`` (ny, nx)."""
        spans = self.spans
        return self._sums(_true_in(spans.y, spans.x_start, spans.x_stop, mask))

    def sum_in(self, plane: NDArray[np.int32]) -> Ints:
        """Sum of ``plane`` (ny, nx) over each footprint."""
        spans = self.spans
        return self._sums(_sum_in(spans.y, spans.x_start, spans.x_stop, plane))

    def select(self, chosen: Bools) -> Spans:
        """The pixels of the footprints whose place in ``chosen`` is True."""
        runs = chosen[self.labels] if self.count else np.zeros(0, dtype=np.bool_)
        return Spans(self.spans.y[runs], self.spans.x_start[runs], self.spans.x_stop[runs])

    def keep(self, chosen: Bools) -> Footprints:
        """The footprints whose place in ``chosen`` is True, renumbered in their order."""
        runs = chosen[self.labels] if self.count else np.zeros(0, dtype=np.bool_)
        names = np.cumsum(chosen) - 1
        return Footprints(self.select(chosen), names[self.labels[runs]], int(chosen.sum()))

    def _sums(self, values: Ints) -> Ints:
        return np.bincount(self.labels, values, minlength=self.count).astype(np.int64)


def with_peak(low: Spans, high: Spans, shape: tuple[int, int]) -> Footprints:
    """The connected parts of ``low`` that hold a pixel of ``high``."""
    found = Footprints.of(low)
    return found.keep(found.count_in(high.rows(0, *shape)) > 0)


def grow(spans: Spans, radius_px: float, shape: tuple[int, int]) -> Spans:
    """All pixels of ``shape`` (ny, nx) within ``radius_px`` of one of ``spans``."""
    ny, nx = shape
    below = np.arange(-int(radius_px), int(radius_px) + 1, dtype=np.int32)
    reach = np.sqrt(radius_px**2 - below**2).astype(np.int32)
    y = (spans.y + below[:, None]).ravel()
    x_start = np.maximum(spans.x_start - reach[:, None], 0).ravel()
    x_stop = np.minimum(spans.x_stop + reach[:, None], nx).ravel()
    held = (y >= 0) & (y < ny)
    return Spans.from_runs(y[held], x_start[held], x_stop[held])


@njit(cache=True, nogil=True)
def _root(parents: Ints, k: int) -> int:
    while parents[k] != k:
        parents[k] = parents[parents[k]]
        k = parents[k]
    return k


@njit(cache=True, nogil=True)
def _label(y: Runs, x_start: Runs, x_stop: Runs) -> Ints:
    """For each run the first run it is connected with (union-find over neighbouring rows)."""
    parents = np.arange(y.size)
    above = 0
    for k in range(y.size):
        while above < k and (
            y[above] < y[k] - 1 or (y[above] == y[k] - 1 and x_stop[above] < x_start[k])
        ):
            above += 1
        other = above
        while other < k and y[other] == y[k] - 1 and x_start[other] <= x_stop[k]:
            first, second = _root(parents, other), _root(parents, k)
            parents[max(first, second)] = min(first, second)
            other += 1
    for k in range(y.size):
        parents[k] = _root(parents, k)
    return parents


@njit(cache=True, nogil=True)
def _true_in(y: Runs, x_start: Runs, x_stop: Runs, mask: Bools) -> Ints:
    sums = np.zeros(y.size, dtype=np.int64)
    for k in range(y.size):
        for x in range(x_start[k], x_stop[k]):
            sums[k] += mask[y[k], x]
    return sums


@njit(cache=True, nogil=True)
def _sum_in(y: Runs, x_start: Runs, x_stop: Runs, plane: NDArray[np.int32]) -> Ints:
    sums = np.zeros(y.size, dtype=np.int64)
    for k in range(y.size):
        for x in range(x_start[k], x_stop[k]):
            sums[k] += plane[y[k], x]
    return sums

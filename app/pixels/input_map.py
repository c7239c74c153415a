"""Which inputs each pixel of a stack is made of, one bit for each input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numba import njit
from numpy.typing import NDArray

from app.pixels.bands import Between, over_rows
from app.pixels.mask_runs import MaskRuns
from app.pixels.warped import Bounds, PixelSet

Bytes = NDArray[np.uint8]


class Masked(Protocol):
    """What is asked of an input."""

    @property
    def bounds(self) -> Bounds:
        """The window outside of which no pixel is usable."""

    def mask_runs(self, start: int, stop: int) -> MaskRuns:
        """Those of the rows ``start <= y < stop``, which lie within the bounds."""


def input_map(
    inputs: Sequence[Masked],
    shape: tuple[int, int],
    excluded: Sequence[PixelSet | None] = (),
    *,
    between_bands: Between = lambda *_: None,
) -> Bytes:
    """(planes, ny, nx) uint8: input ``n`` is bit ``n % 8`` (1: the lowest) of plane ``n // 8``.

    A bit is set where the input has a usable value and ``excluded`` (nothing, or one entry for each
    input) does not leave it out. ``shape`` (ny, nx) is that of the stack.
    """
    made = np.zeros((-(-len(inputs) // 8), *shape), dtype=np.uint8)

    def rows(start: int, stop: int) -> None:
        for n, each in enumerate(inputs):
            y_start, y_stop, x_start, x_stop = each.bounds
            first, last = max(start, y_start), min(stop, y_stop)
            if first < last:
                plane, bit = made[n // 8, first:last], 1 << n % 8
                each.mask_runs(first, last).mark_usable(plane[:, x_start:x_stop], bit)
                left_out = excluded[n] if excluded else None
                if left_out is not None:
                    _clear(plane, left_out.rows(first, last, shape[1]), np.uint8(bit))

    over_rows(rows, shape[0], band_rows=256, between=between_bands)
    return made


@njit(cache=True, nogil=True)
def _clear(plane: Bytes, where: NDArray[np.bool_], bit: np.uint8) -> None:
    for y in range(plane.shape[0]):
        for x in range(plane.shape[1]):
            plane[y, x] &= ~bit if where[y, x] else np.uint8(255)

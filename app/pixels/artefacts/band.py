"""Some rows of every input together, with what the inputs agree on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from app.pixels.artefacts.ordering import order_rows
from app.pixels.bands import thread_count
from app.pixels.image import UNUSABLE
from app.pixels.networks import sorting_network
from app.pixels.warped import Warped

Plane = NDArray[np.float32]

BYTES_PER_VALUE: Final = 16
"""Flux, variance and mask of an input's pixel, and one more plane made of them."""
MOST_ROWS: Final = 128
LEAST_ROWS: Final = 16
HALF_PI: Final = np.float32(0.5 * np.pi)
"""Variance of a median per variance of the mean."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """Rows ``start <= y < stop`` and up to a reach more on both sides, from row ``first`` on.

    ``cube`` (N, rows, nx) is flux, NaN where an input has no usable value; ``variance`` N planes;
    ``weights`` (N,); ``centre``, ``scatter`` and ``count`` those of
    :func:`app.pixels.artefacts.ordering.order_rows`; ``centre_variance`` the variance of the centre
    in blank sky.
    """

    start: int
    stop: int
    first: int
    cube: NDArray[np.float32]
    variance: tuple[Plane, ...]
    weights: Plane
    centre: Plane
    scatter: Plane
    count: NDArray[np.int32]
    centre_variance: Plane

    @property
    def core(self) -> slice:
        """The rows of the band itself among those held."""
        return slice(self.start - self.first, self.stop - self.first)

    def padded(self, plane: Plane, reach: int) -> Plane:
        """The core rows of ``plane`` and ``reach`` more on both sides; zero beyond the image."""
        inner, frame = self._around(plane, reach)
        return np.pad(inner, (frame, (0, 0)))

    def mirrored(self, plane: Plane, reach: int) -> Plane:
        """The same with ``reach`` more columns, too; beyond the image it is its mirror image."""
        inner, frame = self._around(plane, reach)
        return np.pad(inner, (frame, (reach, reach)), mode="symmetric")

    def _around(self, plane: Plane, reach: int) -> tuple[Plane, tuple[int, int]]:
        low, high = self.core.start - reach, self.core.stop + reach
        inner = plane[max(low, 0) : min(high, len(plane))]
        return inner, (max(-low, 0), max(high - len(plane), 0))


def band_rows(inputs: int, nx: int, reach: int, memory_bytes: int) -> int:
    """How many rows a band may have for all threads together to keep within ``memory_bytes``."""
    held = memory_bytes // (thread_count() * max(inputs, 1) * nx * BYTES_PER_VALUE)
    return int(min(max(held - 2 * reach, LEAST_ROWS), MOST_ROWS))


def read_band(inputs: Sequence[Warped], start: int, stop: int, reach: int) -> Band:
    """The band ``start <= y < stop`` of inputs that all have a weight above 0."""
    ny, nx = inputs[0].shape
    first, last = max(0, start - reach), min(ny, stop + reach)
    cube = np.empty((len(inputs), last - first, nx), dtype=np.float32)
    variance: list[Plane] = []
    for n, each in enumerate(inputs):
        rows = each.rows(first, last)
        _take(rows.flux, rows.variance, rows.mask, UNUSABLE, cube[n])
        variance.append(rows.variance)
    shape = cube.shape[1:]
    centre, scatter = np.empty(shape, dtype=np.float32), np.empty(shape, dtype=np.float32)
    count = np.empty(shape, dtype=np.int32)
    order_rows(cube, sorting_network(len(inputs)), centre, scatter, count)
    weights = np.array([each.weight for each in inputs], dtype=np.float32)
    held = np.maximum(count, 1).astype(np.float32)
    return Band(
        start=start,
        stop=stop,
        first=first,
        cube=cube,
        variance=tuple(variance),
        weights=weights,
        centre=centre,
        scatter=scatter,
        count=count,
        centre_variance=HALF_PI / weights.mean() / held,
    )


@njit(cache=True, nogil=True)
def _take(flux: Plane, variance: Plane, mask: NDArray[np.int32], reject: int, out: Plane) -> None:
    """Usable flux, NaN elsewhere (see :meth:`app.pixels.image.MaskedImage.usable`)."""
    nothing, limit = np.float32(np.nan), np.float32(np.inf)
    for y in range(flux.shape[0]):
        for x in range(flux.shape[1]):
            noise = variance[y, x]
            good = (mask[y, x] & reject) == 0 and noise > 0 and noise < limit
            out[y, x] = flux[y, x] if good and abs(flux[y, x]) < limit else nothing

"""Convolution of image planes with a small kernel that may change over the image.

Direct summation: for kernels of 21 to 35 pixels it is faster than FFTs on these sizes, needs no
padding to friendly sizes, and pixels without data do not reach beyond the kernel.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

import numpy as np
from numba import njit
from numpy.typing import NDArray

from app.pixels.bands import over_rows
from app.pixels.convolve_block import BLOCK_COLUMNS, BLOCK_ROWS, correlate_block, padded_taps

Image = NDArray[np.float32]
Kernel = NDArray[np.float64]
Real = TypeVar("Real", bound=np.generic)
KernelField = Kernel | Callable[[Kernel, Kernel], Kernel]
"""A kernel (size, size), or a function of P positions x and y that gives P kernels."""

TILE_PX: Final = 64
"""A kernel that varies is held constant over tiles of this size."""
LEAST_COVERAGE: Final = 0.5
"""A pixel needs this share of the kernel sum on pixels with data."""


@njit(cache=True, nogil=True)
def _are_ones(plane: Image) -> bool:
    for y in range(plane.shape[0]):
        other = False
        for x in range(plane.shape[1]):
            other |= plane[y, x] != 1.0
        if other:
            return False
    return True


@njit(cache=True, nogil=True)
def _correlate(padded: Image, taps: NDArray[np.float32], out: Image, ones: bool) -> None:
    """Fill ``out`` (whole tiles wide, whole blocks high) from a plane that has the kernel's half
    width more on every side.

    ``taps``: :func:`padded_taps` of one kernel, or of one for each tile of columns. A plane of
    ``ones`` and zeros is quick where all are ones.
    """
    high, wide = padded.shape[0] - out.shape[0] + 1, padded.shape[1] - out.shape[1] + 1
    for tile in range(out.shape[1] // TILE_PX):
        kernel, left = taps[min(tile, taps.shape[0] - 1)], tile * TILE_PX
        total = kernel.sum() if ones else np.float32(0.0)
        for y in range(0, out.shape[0], BLOCK_ROWS):
            for x in range(left, left + TILE_PX, BLOCK_COLUMNS):
                around = padded[y : y + BLOCK_ROWS + high - 1, x : x + BLOCK_COLUMNS + wide - 1]
                if ones and _are_ones(around):
                    out[y : y + BLOCK_ROWS, x : x + BLOCK_COLUMNS] = total
                else:
                    correlate_block(padded, kernel, y, x, out)


def _strip_shape(rows: int, nx: int) -> tuple[int, int]:
    """The next whole number of blocks and tiles: what a strip is filled by."""
    return -(-rows // BLOCK_ROWS) * BLOCK_ROWS, -(-nx // TILE_PX) * TILE_PX


def kernels_of_rows(kernel: KernelField, start: int, stop: int, nx: int) -> Kernel:
    """One kernel, or those of the tiles that the rows ``start`` … ``stop`` are: (n, size, size)."""
    if not callable(kernel):
        return kernel[None]
    middles = tile_middles(nx)
    return kernel(middles, np.full_like(middles, 0.5 * (start + stop - 1)))


def convolve(plane: Image, kernel: KernelField) -> Image:
    """``plane`` (ny, nx) convolved with a kernel (odd, odd), or with one that varies by tiles.

    Outside the image is zero. Every pixel of ``plane`` must be finite.
    """
    ny, nx = plane.shape
    out = np.empty((ny, nx), dtype=np.float32)

    def rows(start: int, stop: int) -> None:
        kernels = kernels_of_rows(kernel, start, stop, nx)
        strip = rows_around(plane, start, stop, kernels.shape[1] // 2)
        out[start:stop] = convolve_strip(strip, kernels)

    over_rows(rows, ny, band_rows=TILE_PX)
    return out


def rows_around(plane: NDArray[Real], start: int, stop: int, half: int) -> NDArray[Real]:
    """Rows ``start - half`` … ``stop + half`` of a plane; those beyond it are zero."""
    first, last = max(0, start - half), min(len(plane), stop + half)
    frame = ((first - (start - half), stop + half - last), (0, 0))
    return np.pad(plane[first:last], frame)


def convolve_strip(plane: Image, kernels: Kernel, *, present: bool = False) -> Image:
    """The rows of ``plane`` (rows + 2 half, nx) whose kernel lies within: (rows, nx).

    ``kernels`` (one, or one for each tile of TILE_PX columns; odd, odd). Beyond the first and last
    column is zero; every pixel must be finite. A plane that is ``present`` has ones and zeros only,
    which is quick where all are ones.
    """
    half_y, half_x = kernels.shape[1] // 2, kernels.shape[2] // 2
    rows, nx = plane.shape[0] - 2 * half_y, plane.shape[1]
    out = np.empty(_strip_shape(rows, nx), dtype=np.float32)
    padded = np.zeros((out.shape[0] + 2 * half_y, out.shape[1] + 2 * half_x), dtype=np.float32)
    padded[: len(plane), half_x : half_x + nx] = plane
    _correlate(padded, padded_taps(kernels), out, present)
    return out[:rows, :nx]


def tile_middles(size: int) -> Kernel:
    """Where along an axis of ``size`` pixels the middles of the tiles lie."""
    return np.arange(-(-size // TILE_PX), dtype=np.float64) * TILE_PX + 0.5 * (TILE_PX - 1)


def or_window(mask: NDArray[np.int32], reach: int) -> NDArray[np.int32]:
    """OR of the mask over the (2 reach + 1) square around each pixel; outside counts as 0."""
    if reach == 0 or not mask.any():
        return mask.copy()
    return _or_rows(np.ascontiguousarray(_or_rows(mask, reach).T), reach).T.copy()


def _or_rows(mask: NDArray[np.int32], reach: int) -> NDArray[np.int32]:
    """OR over rows y - reach … y + reach, by doubling the window."""
    rows = mask.shape[0]
    size = 2 * reach + 1
    wide = np.zeros((rows + 2 * reach, mask.shape[1]), dtype=np.int32)
    wide[reach : reach + rows] = mask
    window = 1
    while 2 * window <= size:
        wide[: len(wide) - window] |= wide[window:].copy()
        window *= 2
    rest = size - window
    result: NDArray[np.int32] = np.bitwise_or(wide[:rows], wide[rest : rest + rows])
    return result

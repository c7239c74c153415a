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
from app.pixels.convolve_block import BLOCK_COLUMNS, BLOCK_ROWS, correlate_block, turned_taps

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

    ``taps``: :func:`turned_taps` of one kernel, or of one for each tile of columns. A plane of
    ``ones`` and zeros is quick where all are ones.
    """
    high, wide = padded.shape[0] - out.shape[0] + 1, padded.shape[1] - out.shape[1] + 1
    for tile in range(out.shape[1] // TILE_PX):
        kernel, left = taps[min(tile, taps.shape[0] - 1)], tile * TILE_PX
        total = kernel.sum() if ones else np.float32(0.0)
        whole = ones and _are_ones(padded[:, left : left + TILE_PX + wide - 1])
        for y in range(0, out.shape[0], BLOCK_ROWS):
            for x in range(left, left + TILE_PX, BLOCK_COLUMNS):
                around = padded[y : y + BLOCK_ROWS + high - 1, x : x + BLOCK_COLUMNS + wide - 1]
                if whole or (ones and _are_ones(around)):
                    out[y : y + BLOCK_ROWS, x : x + BLOCK_COLUMNS] = total
                else:
                    correlate_block(padded, kernel, y, x, out)


def padded_shape(rows: int, nx: int, kernels: Kernel) -> tuple[int, int]:
    """What a strip of ``rows`` is filled by, the next whole number of blocks and tiles, and half
    the kernel more on every side."""
    high, wide = -(-rows // BLOCK_ROWS) * BLOCK_ROWS, -(-nx // TILE_PX) * TILE_PX
    return high + kernels.shape[1] - 1, wide + kernels.shape[2] - 1


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
    padded = np.zeros(padded_shape(rows, nx, kernels), dtype=np.float32)
    padded[: len(plane), half_x : half_x + nx] = plane
    return correlated(padded, kernels, rows, nx, ones=present)


def correlated(padded: Image, kernels: Kernel, rows: int, nx: int, *, ones: bool = False) -> Image:
    """As :func:`convolve_strip`, of a plane of :func:`padded_shape` with zeros around it."""
    shape = padded.shape[0] - kernels.shape[1] + 1, padded.shape[1] - kernels.shape[2] + 1
    out = np.empty(shape, dtype=np.float32)
    _correlate(padded, turned_taps(kernels), out, ones)
    return out[:rows, :nx]


def tile_middles(size: int) -> Kernel:
    """Where along an axis of ``size`` pixels the middles of the tiles lie."""
    return np.arange(-(-size // TILE_PX), dtype=np.float64) * TILE_PX + 0.5 * (TILE_PX - 1)


def or_window(mask: NDArray[np.int32], reach: int) -> NDArray[np.int32]:
    """OR of the mask over the (2 reach + 1) square around each pixel; outside counts as 0."""
    if reach == 0:
        return mask.copy()
    out = np.zeros(mask.shape, dtype=np.int32)
    _or_tiles(np.ascontiguousarray(mask), reach, out)
    return out


@njit(cache=True, nogil=True)
def _or_tiles(mask: NDArray[np.int32], reach: int, out: NDArray[np.int32]) -> None:
    """Fill ``out``, which is 0, tile by tile; most have nothing around them."""
    ny, nx = mask.shape
    size = 2 * reach + 1
    for top in range(0, ny, TILE_PX):
        bottom = min(ny, top + TILE_PX)
        for left in range(0, nx, TILE_PX):
            right = min(nx, left + TILE_PX)
            first, last = max(0, top - reach), min(ny, bottom + reach)
            begin, end = max(0, left - reach), min(nx, right + reach)
            around = mask[first:last, begin:end]
            if not _any_bit(around):
                continue
            wide = np.zeros((bottom - top + 2 * reach, right - left + 2 * reach), dtype=np.int32)
            y, x = first - top + reach, begin - left + reach
            wide[y : y + around.shape[0], x : x + around.shape[1]] = around
            _or_down(wide, size)
            _or_across(wide[: bottom - top], size)
            out[top:bottom, left:right] = wide[: bottom - top, : right - left]


@njit(cache=True, nogil=True)
def _any_bit(mask: NDArray[np.int32]) -> bool:
    for y in range(mask.shape[0]):
        bits = 0
        for x in range(mask.shape[1]):
            bits |= mask[y, x]
        if bits:
            return True
    return False


@njit(cache=True, nogil=True)
def _or_down(mask: NDArray[np.int32], size: int) -> None:
    """OR of ``size`` rows from each row on, by doubling; the last rows have fewer."""
    window = 1
    while window < size:
        step = min(window, size - window)
        for y in range(mask.shape[0] - step):
            for x in range(mask.shape[1]):
                mask[y, x] |= mask[y + step, x]
        window += step


@njit(cache=True, nogil=True)
def _or_across(mask: NDArray[np.int32], size: int) -> None:
    """OR of ``size`` columns from each column on."""
    window = 1
    while window < size:
        step = min(window, size - window)
        for y in range(mask.shape[0]):
            for x in range(mask.shape[1] - step):
                mask[y, x] |= mask[y, x + step]
        window += step

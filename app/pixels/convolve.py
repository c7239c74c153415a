"""Convolution of image planes with a small kernel that may change over the image.

Direct summation: for kernels of 21 to 35 pixels it is faster than FFTs on these sizes, needs no
padding to friendly sizes, and pixels without data do not reach beyond the kernel.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from app.pixels.bands import over_rows

Image = NDArray[np.float32]
Kernel = NDArray[np.float64]
KernelField = Kernel | Callable[[Kernel, Kernel], Kernel]
"""A kernel (size, size), or a function of P positions x and y that gives P kernels."""

TILE_PX: Final = 64
"""A kernel that varies is held constant over tiles of this size."""
LEAST_COVERAGE: Final = 0.5
"""A pixel needs this share of the kernel sum on pixels with data."""


@njit(cache=True, nogil=True, fastmath={"contract", "nsz", "reassoc"})
def _convolve_tile(
    padded: Image, kernel: Image, y: int, x: int, rows: int, out: Image, line: Image
) -> None:
    """Correlate ``padded`` with ``kernel`` for the tile whose first output pixel is (y, x)."""
    size_y, size_x = kernel.shape
    for row in range(y, y + rows):
        line[:] = 0.0
        for j in range(size_y):
            weights = kernel[j]
            for i in range(0, size_x - 3, 4):  # four at once: the line is read and kept less often
                a, b, c, d = weights[i], weights[i + 1], weights[i + 2], weights[i + 3]
                origin = padded[row + j, x + i : x + i + TILE_PX + 3]
                for t in range(TILE_PX):
                    line[t] += (
                        a * origin[t] + b * origin[t + 1] + c * origin[t + 2] + d * origin[t + 3]
                    )
            for i in range(size_x - size_x % 4, size_x):
                weight, origin = weights[i], padded[row + j, x + i : x + i + TILE_PX]
                for t in range(TILE_PX):
                    line[t] += weight * origin[t]
        stop = min(TILE_PX, out.shape[1] - x)
        out[row, x : x + stop] = line[:stop]


@njit(cache=True, nogil=True)
def _convolve_rows(
    start: int, stop: int, padded: Image, kernels: NDArray[np.float32], out: Image
) -> None:
    """Output rows of one row of tiles; ``kernels`` is (tiles or 1, size, size), flipped."""
    line = np.empty(TILE_PX, dtype=np.float32)
    for tile in range(-(-out.shape[1] // TILE_PX)):
        kernel = kernels[min(tile, kernels.shape[0] - 1)]
        _convolve_tile(padded, kernel, start, tile * TILE_PX, stop - start, out, line)


@njit(cache=True, nogil=True)
def _share_rows(
    start: int, stop: int, padded: Image, kernels: NDArray[np.float32], out: Image
) -> None:
    """:func:`_convolve_rows` of a plane of ones and zeros, quick where all are ones."""
    line = np.empty(TILE_PX, dtype=np.float32)
    size_y, size_x = kernels.shape[1:]
    for tile in range(-(-out.shape[1] // TILE_PX)):
        kernel = kernels[min(tile, kernels.shape[0] - 1)]
        first, last = tile * TILE_PX, min((tile + 1) * TILE_PX, out.shape[1])
        if np.all(padded[start : stop + size_y - 1, first : last + size_x - 1] == 1.0):
            out[start:stop, first:last] = kernel.sum()
        else:
            _convolve_tile(padded, kernel, start, first, stop - start, out, line)


def convolve(plane: Image, kernel: KernelField) -> Image:
    """``plane`` (ny, nx) convolved with a kernel (odd, odd), or with one that varies by tiles.

    Outside the image is zero; the caller handles pixels without data (see
    :func:`convolve_present`). Every pixel of ``plane`` must be finite.
    """
    return _by_tiles(plane, kernel, _convolve_rows)


def _by_tiles(plane: Image, kernel: KernelField, row_kernel: Callable[..., None]) -> Image:
    """Pad the plane and run ``row_kernel`` with the kernels of each row of tiles."""
    ny, nx = plane.shape
    middles = tile_middles(nx)
    first = kernel(middles[:1], middles[:1]) if callable(kernel) else kernel[None]
    size_y, size_x = first.shape[1:]
    half_y, half_x = size_y // 2, size_x // 2
    padded = np.zeros((ny + 2 * half_y, nx + 2 * half_x + TILE_PX), dtype=np.float32)
    padded[half_y : half_y + ny, half_x : half_x + nx] = plane
    out = np.empty((ny, nx), dtype=np.float32)

    def rows(start: int, stop: int) -> None:
        here = first
        if callable(kernel):
            here = kernel(middles, np.full_like(middles, 0.5 * (start + stop - 1)))
        row_kernel(start, stop, padded, _turned(here), out)

    over_rows(rows, ny, band_rows=TILE_PX)
    return out


def _turned(kernels: Kernel) -> NDArray[np.float32]:
    """Kernels (n, size, size) as the row kernels want them."""
    return np.ascontiguousarray(kernels[:, ::-1, ::-1], dtype=np.float32)


def convolve_strip(plane: Image, kernels: Kernel, *, present: bool = False) -> Image:
    """The rows of ``plane`` (rows + 2 half, nx) whose kernel lies within: (rows, nx).

    ``kernels`` (one, or one for each tile of TILE_PX columns; size, size) have one odd size. Beyond
    the first and last column is zero; every pixel must be finite. A plane that is ``present`` has
    ones and zeros only, which is quick where all are ones.
    """
    half, nx = kernels.shape[1] // 2, plane.shape[1]
    padded = np.pad(plane, ((0, 0), (half, half + TILE_PX)))
    out = np.empty((plane.shape[0] - 2 * half, nx), dtype=np.float32)
    row_kernel = _share_rows if present else _convolve_rows
    row_kernel(0, len(out), padded, _turned(kernels), out)
    return out


def tile_middles(size: int) -> Kernel:
    """Where along an axis of ``size`` pixels the middles of the tiles lie."""
    return np.arange(-(-size // TILE_PX), dtype=np.float64) * TILE_PX + 0.5 * (TILE_PX - 1)


def convolve_present(
    plane: Image, present: NDArray[np.bool_], kernel: KernelField, kernel_sum: float
) -> tuple[Image, Image]:
    """Convolve the pixels that are ``present``; returns (values, gain).

    Where part of the kernel lies on absent pixels or outside the image, the value is divided by the
    share of the kernel sum that was present; ``gain`` is that divisor's inverse (1 elsewhere, NaN,
    as the value, when less than LEAST_COVERAGE was present).
    """
    values = convolve(np.where(present, plane, np.float32(0.0)), kernel)
    share = _by_tiles(present.astype(np.float32), kernel, _share_rows) / np.float32(kernel_sum)
    share[np.abs(share - 1.0) < 1e-4] = 1.0
    gain = np.where(share >= LEAST_COVERAGE, 1.0 / np.maximum(share, LEAST_COVERAGE), np.nan)
    return (values * gain).astype(np.float32), gain.astype(np.float32)


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

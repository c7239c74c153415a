"""Convolution with kernels that are sums of a few products of a column and a row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from app.pixels.kernels import FWHM_TO_SIGMA

Plane = NDArray[np.float32]
Floats = NDArray[np.float64]
_FAST: Final = {"contract", "nsz", "reassoc"}


@dataclass(frozen=True, slots=True)
class SeparableKernel:
    """``sum_k outer(columns[k], rows[k])``; both are (terms, size) float32 of one odd size."""

    columns: Plane
    rows: Plane

    @property
    def half_px(self) -> int:
        """How far the kernel reaches from its middle pixel."""
        return int(self.rows.shape[1]) // 2

    def stamp(self) -> Floats:
        """The kernel (size, size)."""
        whole: Floats = np.einsum(
            "kj,ki->ji", self.columns.astype(np.float64), self.rows.astype(np.float64)
        )
        return whole

    @property
    def power(self) -> float:
        """Sum of squares: the variance of white noise after it, per variance before."""
        return float((self.stamp() ** 2).sum())


def gaussian_kernel(fwhm_px: float) -> SeparableKernel:
    """Unit-sum Gaussian out to three sigma; FWHM 0 changes nothing."""
    if fwhm_px <= 0:
        one = np.ones((1, 1), dtype=np.float32)
        return SeparableKernel(one, one)
    sigma = fwhm_px * FWHM_TO_SIGMA
    half = max(1, int(np.ceil(3.0 * sigma)))
    line = np.exp(-0.5 * (np.arange(-half, half + 1) / sigma) ** 2)
    line = (line / line.sum()).astype(np.float32)[None]
    return SeparableKernel(line, line)


def from_stamp(stamp: Floats, *, tolerance: float = 2e-3, most: int = 4) -> SeparableKernel:
    """The fewest terms (at most ``most``) that leave ``tolerance`` of the kernel's norm or less.

    Terms are those of the singular value decomposition, which no other choice of as many betters.
    """
    left, values, right = np.linalg.svd(stamp)
    rest = np.sqrt(np.append(np.cumsum(values[::-1] ** 2)[::-1], 0.0))
    terms = min(most, max(1, int(np.argmax(rest <= tolerance * rest[0]))))
    root = np.sqrt(values[:terms])
    return SeparableKernel(
        (left[:, :terms] * root).T.astype(np.float32),
        (right[:terms] * root[:, None]).astype(np.float32),
    )


def convolve_rows(plane: Plane, kernel: SeparableKernel) -> Plane:
    """The rows of ``plane`` (rows + 2 half, nx) whose kernel lies within: (rows, nx) float32.

    Beyond the first and last column is zero. Every pixel must be finite.
    """
    half = kernel.half_px
    out = np.zeros((plane.shape[0] - 2 * half, plane.shape[1]), dtype=np.float32)
    _convolve(plane, kernel.columns[:, ::-1].copy(), kernel.rows[:, ::-1].copy(), out)
    return out


def convolve_plane(plane: Plane, kernel: SeparableKernel) -> Plane:
    """All of ``plane`` (ny, nx); outside it is zero."""
    half = kernel.half_px
    return convolve_rows(np.pad(plane, ((half, half), (0, 0))), kernel)


@njit(cache=True, nogil=True, fastmath=_FAST)
def _add_scaled(line: Plane, origin: Plane, weight: np.float32) -> None:
    for x in range(line.size):
        line[x] += weight * origin[x]


@njit(cache=True, nogil=True, fastmath=_FAST)
def _add_four(line: Plane, a: Plane, b: Plane, c: Plane, d: Plane, weights: Plane) -> None:
    """Four of :func:`_add_scaled` at once: the line is read and kept less often."""
    first, second, third, fourth = weights[0], weights[1], weights[2], weights[3]
    for x in range(line.size):
        line[x] += first * a[x] + second * b[x] + third * c[x] + fourth * d[x]


@njit(cache=True, nogil=True, fastmath=_FAST)
def _convolve(plane: Plane, columns: Plane, rows: Plane, out: Plane) -> None:
    """Correlate with the (turned) terms, adding to ``out``."""
    terms, size = rows.shape
    half, nx = size // 2, plane.shape[1]
    line = np.zeros(nx + 2 * half, dtype=np.float32)
    for y in range(out.shape[0]):
        for k in range(terms):
            middle = line[half : half + nx]
            middle[:] = 0.0
            for j in range(0, size - 3, 4):
                at, weights = y + j, columns[k, j : j + 4]
                _add_four(middle, plane[at], plane[at + 1], plane[at + 2], plane[at + 3], weights)
            for j in range(size - size % 4, size):
                _add_scaled(middle, plane[y + j], columns[k, j])
            for i in range(0, size - 3, 4):
                a, b = line[i : i + nx], line[i + 1 : i + 1 + nx]
                c, d = line[i + 2 : i + 2 + nx], line[i + 3 : i + 3 + nx]
                _add_four(out[y], a, b, c, d, rows[k, i : i + 4])
            for i in range(size - size % 4, size):
                _add_scaled(out[y], line[i : i + nx], rows[k, i])

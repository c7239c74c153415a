"""Matching kernels whose every pixel is free, held together by regularisation.

Delta functions as a basis (Becker et al. 2012, MNRAS 425, 1341; the delta-function basis of
Rubin's ip_diffim): each pixel of the kernel is an unknown, and ``lambda |B k|²`` is added to what
is made least, where B is the 9-point Laplacian, in the outermost ring of pixels three times the
pixel itself. Stars of a part of the image tell one kernel together; over all parts the mean of
these kernels and their principal components are the elements whose weights then change over the
image, as the elements of a Gaussian basis do.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from app.pixels.bands import over_rows
from app.pixels.equations import factor_positive, solve_factored
from app.pixels.kernels import KernelForm, TabulatedBasis
from app.pixels.stamp_pixels import StampPixels

Image = NDArray[np.float32]
Floats = NDArray[np.float64]

MOST_HALF_PX: Final = 13
MOST_STAMPS: Final = 300
"""The brightest: what they tell of the pixels fainter ones add little to."""
CELLS: Final = (1, 3, 4)
"""Parts along each axis for a spatial order of 0, 1 and more."""
STAMPS_PER_CELL: Final = 3
COMPONENTS: Final = 5
LEAST_POWER: Final = 1e-6
"""A component has more than this part of the mean kernel's power."""
UNBIASING_ROUNDS: Final = 3
DEVIATION: Final = 30.0
"""So many times stronger than the mean is held what kernels of parts differ from it by."""
BATCH: Final = 16
"""Stamps that are summed by one thread; sums of batches are added in order."""


def delta_half_px(form: KernelForm, gaussian_half_px: int) -> int:
    """Half the side of the kernel: as given, or that which Gaussians have, up to 13 px."""
    return form.size_px // 2 if form.size_px else min(gaussian_half_px, MOST_HALF_PX)


def build_delta_basis(
    pixels: StampPixels, half_px: int, order: int, shape: tuple[int, int], regularisation: float
) -> TabulatedBasis:
    """The elements for kernels of 2 ``half_px`` + 1 squared that the stamps (brightest first) of
    images of ``shape`` tell.

    ``regularisation`` is lambda for each stamp, in units of its noise and of the flux ratio.
    """
    cells = min(CELLS[min(order, len(CELLS) - 1)], _most_cells(len(pixels)))
    row, column = pixels.y * cells // shape[0], pixels.x * cells // shape[1]
    cell = (row * cells + column)[:MOST_STAMPS]
    sums = _CellSums(pixels, half_px, cell)
    mean = sums.kernel(list(range(cells**2)), regularisation)
    kernels, counts = [], []
    for number in np.unique(cell):
        count = int(np.count_nonzero(cell == number))
        if count >= STAMPS_PER_CELL:
            kernels.append(sums.kernel([int(number)], DEVIATION * regularisation, around=mean))
            counts.append(count)
    return TabulatedBasis(_elements(mean, kernels, counts))


def _most_cells(stamps: int) -> int:
    return max(1, int((stamps / STAMPS_PER_CELL) ** 0.5))


def _elements(mean: Floats, kernels: list[Floats], counts: list[int]) -> Floats:
    """The mean kernel, of sum 1, and the principal components of how the others differ from it,
    of sum 0 and unit power."""
    first = mean / mean.sum()
    usable = [n for n, kernel in enumerate(kernels) if kernel.sum() > 0]
    if len(usable) < 2:
        return np.asarray(first[None])
    apart = np.stack([kernels[n] / kernels[n].sum() - first for n in usable])
    weighted = apart.reshape(len(apart), -1) * np.sqrt([[counts[n]] for n in usable])
    power, ways = np.linalg.eigh(np.einsum("ip,jp->ij", weighted, weighted))
    share = power / sum(counts[n] for n in usable) / float((first**2).sum())
    best = [n for n in np.argsort(-power)[:COMPONENTS] if share[n] > LEAST_POWER]
    found = np.einsum("in,ip->np", ways[:, best], weighted).reshape(-1, *first.shape)
    found -= found.sum(axis=(1, 2))[:, None, None] * first
    found /= np.sqrt((found**2).sum(axis=(1, 2)))[:, None, None]
    return np.concatenate([first[None], found])


class _CellSums:
    """Normal equations of the free pixels and a constant, for the stamps of each cell."""

    def __init__(self, pixels: StampPixels, half_px: int, cell: NDArray[np.int64]) -> None:
        self._side = 2 * half_px + 1
        self._cell, self._numbers = cell, np.unique(cell)
        noise = _noise(pixels, half_px)[: len(cell)]
        told = np.isfinite(noise) & (noise > 0)
        self._weight = np.where(told, 1.0 / np.where(told, noise, 1.0), 0.0)
        self._blur = self._weight * np.einsum(
            "kyx,kyx->k", pixels.usable[: len(cell)], pixels.sharp_variance[: len(cell)]
        )
        self._ratio = _flux_ratio(pixels, half_px)
        size = self._side**2 + 1
        members = [np.flatnonzero(cell == n) for n in self._numbers]
        batches = [
            (n, part[start : start + BATCH])
            for n, part in enumerate(members)
            for start in range(0, len(part), BATCH)
        ]
        products, right = np.zeros((len(batches), size, size)), np.zeros((len(batches), size))

        def add(start: int, stop: int) -> None:
            for n in range(start, stop):
                for k in batches[n][1]:
                    _add_stamp(
                        pixels.sharp[k], pixels.broad[k], pixels.usable[k],
                        self._weight[k], products[n], right[n],
                    )  # fmt: skip

        over_rows(add, len(batches), band_rows=1)
        self._products = np.zeros((len(members), size, size))
        self._right = np.zeros((len(members), size))
        for n, (which, _) in enumerate(batches):
            self._products[which] += products[n]
            self._right[which] += right[n]

    def kernel(
        self, numbers: list[int], regularisation: float, around: Floats | None = None
    ) -> Floats:
        """That of the stamps of some cells together; what it differs from ``around`` by is held."""
        chosen = np.isin(self._numbers, numbers)
        stamps = np.isin(self._cell, numbers) & (self._weight > 0)
        matrix = self._products[chosen].sum(axis=0)
        matrix += np.tril(matrix, -1).T
        right = self._right[chosen].sum(axis=0)
        strength = regularisation * np.count_nonzero(stamps) / self._ratio**2
        roughness = strength * _roughness(self._side)
        matrix[:-1, :-1] += roughness
        if around is not None:
            right[:-1] += (roughness * around[::-1, ::-1].ravel()).sum(axis=1)
        noise = float(self._blur[stamps].sum())
        lower, scale = factor_positive(matrix)
        solution = solve_factored(lower, scale, right)
        for _ in range(UNBIASING_ROUNDS):  # as KernelFit.solve does
            more = right.copy()
            more[:-1] += noise * solution[:-1]
            solution = solve_factored(lower, scale, more)
        return np.asarray(solution[:-1].reshape(self._side, self._side)[::-1, ::-1])


def _noise(pixels: StampPixels, half_px: int) -> Floats:
    """One variance for each stamp: the pixels' own averaged with the squared signal."""
    signal = np.where(pixels.usable, pixels.sharp[:, half_px:-half_px, half_px:-half_px], 0) ** 2
    with np.errstate(invalid="ignore"):
        noise: Floats = np.einsum("kyx,kyx->k", signal, pixels.variance, dtype=np.float64)
        noise /= signal.sum(axis=(1, 2), dtype=np.float64)
    return noise


def _flux_ratio(pixels: StampPixels, half_px: int) -> float:
    """Median over the stamps of broad flux per sharp flux (rough: it is for the regularisation)."""
    inner = np.where(pixels.usable, pixels.sharp[:, half_px:-half_px, half_px:-half_px], 0)
    below = inner.sum(axis=(1, 2), dtype=np.float64)
    above = np.where(pixels.usable, pixels.broad, 0).sum(axis=(1, 2), dtype=np.float64)
    bright = (below > 0) & (above > 0)
    return float(np.median(above[bright] / below[bright])) if bright.any() else 1.0


@lru_cache(maxsize=4)
def _roughness(side: int) -> Floats:
    """B^T B (side², side²), of whole numbers until the end: the order of sums is the same to it."""
    stencil = np.array([[1.0, 4.0, 1.0], [4.0, -20.0, 4.0], [1.0, 4.0, 1.0]])
    rows = np.zeros((side, side, side, side))
    for y in range(side):
        for x in range(side):
            if 0 < y < side - 1 and 0 < x < side - 1:
                rows[y, x, y - 1 : y + 2, x - 1 : x + 2] = stencil
            else:
                rows[y, x, y, x] = 18.0
    flat = rows.reshape(side**2, side**2)
    return np.asarray(flat.T @ flat) / 36.0


@njit(cache=True, nogil=True)
def _add_stamp(
    sharp: Image,
    broad: Image,
    usable: NDArray[np.bool_],
    weight: float,
    products: Floats,
    right: Floats,
) -> None:
    """Add the sums of a stamp to the lower triangle of ``products`` and to ``right``.

    Unknown n = a side + b multiplies ``sharp[y + a, x + b]``; the last one is the constant.
    Products of two unknowns are sums over the stamp of the image times itself, some way off: they
    are taken for one such way after the other, from sums over columns and rows.
    """
    if weight == 0.0:
        return
    size = usable.shape[0]
    side = sharp.shape[0] - size + 1
    for down in range(side):
        for along in range(1 - side if down else 0, side):
            _add_lag(sharp, size, side, down, along, weight, products)
    last = side * side
    for y in range(size):
        for x in range(size):
            if usable[y, x]:
                right[last] += weight * broad[y, x]
                products[last, last] += weight
                for a in range(side):
                    for b in range(side):
                        value = weight * sharp[y + a, x + b]
                        right[a * side + b] += value * broad[y, x]
                        products[last, a * side + b] += value
            else:
                _take_pixel(sharp, y, x, side, weight, products)


@njit(cache=True, nogil=True)
def _add_lag(
    sharp: Image, size: int, side: int, down: int, along: int, weight: float, products: Floats
) -> None:
    """The products of unknowns that lie (``down``, ``along``) apart, over all of the stamp."""
    wide = sharp.shape[0]
    left, stop = max(0, -along), min(wide, wide - along)
    columns = np.zeros(wide)
    first, last = max(0, -along), min(side, side - along)
    for y in range(wide - down):
        for x in range(left, stop):
            columns[x] += np.float64(sharp[y, x]) * sharp[y + down, x + along]
        if y >= size:
            for x in range(left, stop):
                columns[x] -= np.float64(sharp[y - size, x]) * sharp[y - size + down, x + along]
        a = y - size + 1
        if a < 0:
            continue
        total = 0.0
        for x in range(first, first + size - 1):
            total += columns[x]
        for b in range(first, last):
            total += columns[b + size - 1]
            products[(a + down) * side + b + along, a * side + b] += weight * total
            total -= columns[b]


@njit(cache=True, nogil=True)
def _take_pixel(sharp: Image, y: int, x: int, side: int, weight: float, products: Floats) -> None:
    """Take a pixel of the stamp that is not usable out of its products again."""
    seen = sharp[y : y + side, x : x + side].astype(np.float64).ravel()
    for n in range(seen.size):
        factor = weight * seen[n]
        if factor != 0.0:
            for m in range(n + 1):
                products[n, m] -= factor * seen[m]

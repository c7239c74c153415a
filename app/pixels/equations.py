"""Normal equations of the matching kernel, stamp by stamp.

In a stamp the model of the science pixels is ``sum_n a_n (B_n * T) + b`` with the basis B and the
template T. Each stamp is reduced once to its sums of products; fits over any choice of stamps, and
how well each stamp agrees with a fit, follow from those without touching pixels again.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from app.pixels.bands import over_rows
from app.pixels.kernels import AnyBasis, TabulatedBasis
from app.pixels.stamp_pixels import StampPixels

Image = NDArray[np.float32]
Floats = NDArray[np.float64]

CHUNK_PX: Final = 160
"""Pixels of all basis images that the first-level cache holds."""


@dataclass(frozen=True, slots=True)
class Stamps:
    """Sums over the usable pixels of K stamps, in units of each stamp's ``noise``.

    ``x``, ``y``: middles. ``products`` (K, n + 1, n + 1) and ``responses`` (K, n + 1) over the n
    basis images and a constant; ``power``: sum of squared science pixels; ``count``: pixels;
    ``expected``: what power the noise alone should leave. ``noise`` is one variance per stamp:
    the pixel variance averaged with the squared signal, as it bears on the fitted amplitude.
    ``blur`` times the products of the basis with itself is what the template's own noise adds to
    ``products`` on average.
    """

    x: Floats
    y: Floats
    products: Floats
    responses: Floats
    power: Floats
    count: NDArray[np.int64]
    expected: Floats
    noise: Floats
    blur: Floats

    def chosen(self, which: NDArray[np.bool_]) -> Stamps:
        """The stamps marked in ``which``."""
        return Stamps(*(getattr(self, each.name)[which] for each in fields(self)))

    def replaced(self, which: NDArray[np.bool_], other: Stamps) -> Stamps:
        """These stamps, those marked in ``which`` replaced by others."""
        whole = self.chosen(np.ones(len(self), dtype=np.bool_))
        for each in fields(self):
            getattr(whole, each.name)[which] = getattr(other, each.name)
        return whole

    def __len__(self) -> int:
        return len(self.x)


@njit(cache=True, nogil=True, fastmath={"contract", "nsz"})
def _sum_shifted(source: Floats, profile: Floats, step: int, out: Floats) -> None:
    """out[p] = sum_t profile[-1 - t] source[p + t step], four taps at a time."""
    out[:] = 0.0
    last, size = profile.size - 1, out.size
    for tap in range(0, last - 2, 4):
        at = last - tap
        a, b, c, d = profile[at], profile[at - 1], profile[at - 2], profile[at - 3]
        first = source[tap * step :]
        second, third, fourth = first[step:], first[2 * step :], first[3 * step :]
        for p in range(size):
            out[p] += a * first[p] + b * second[p] + c * third[p] + d * fourth[p]
    for tap in range(profile.size - profile.size % 4, profile.size):
        weight, rest = profile[last - tap], source[tap * step :]
        for p in range(size):
            out[p] += weight * rest[p]


@njit(cache=True, nogil=True)
def _basis_images(
    template: Image,
    filters: Floats,
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    out: Floats,
) -> None:
    """Convolve a template stamp with every raw element: out (n, size, size), x first.

    Along y first, with the pixels of all rows in one run; turned round, x is the same again.
    """
    wide, size = template.shape[0], out.shape[1]
    whole = template.astype(np.float64).ravel()
    along = np.empty(size * wide)
    turned = np.empty((filters.shape[0], wide * size))
    for f in range(filters.shape[0]):
        _sum_shifted(whole, filters[f], wide, along)
        for y in range(size):
            for x in range(wide):
                turned[f, x * size + y] = along[y * wide + x]
    for n in range(rows.size):
        _sum_shifted(turned[rows[n]], filters[columns[n]], size, out[n].ravel())


@njit(cache=True, nogil=True)
def _table_images(template: Image, table: Floats, out: Floats) -> None:
    """Convolve a template stamp with images of kernels: out (n, size, size), x first."""
    reach, size = table.shape[1], out.shape[1]
    out[:] = 0.0
    for n in range(table.shape[0]):
        for a in range(reach):
            for b in range(reach):
                weight = table[n, reach - 1 - a, reach - 1 - b]
                for y in range(size):
                    for x in range(size):
                        out[n, x, y] += weight * template[y + a, x + b]


@njit(cache=True, nogil=True)
def _sum_products(
    images: Floats, science: Image, usable: NDArray[np.bool_], products: Floats, responses: Floats
) -> float:
    """Fill the sums over usable pixels of raw basis images (x first) and a constant; returns the
    power."""
    count = images.shape[0]
    pixels = np.empty((count + 1, usable.size))
    data, places = np.empty(usable.size), np.empty(usable.size, dtype=np.int64)
    size = 0
    for x in range(usable.shape[1]):
        for y in range(usable.shape[0]):
            if usable[y, x]:
                places[size] = x * usable.shape[0] + y
                data[size] = science[y, x]
                size += 1
    for n in range(count):
        own = images[n].ravel()
        for p in range(size):
            pixels[n, p] = own[places[p]]
    pixels[count] = 1.0
    products[:] = 0.0
    responses[:] = 0.0
    for start in range(0, size, CHUNK_PX):
        stop = min(size, start + CHUNK_PX)
        _add_products(pixels[:, start:stop], data[start:stop], products, responses)
    for n in range(count + 1):
        for m in range(n):
            products[m, n] = products[n, m]
    return float((data[:size] ** 2).sum())


@njit(cache=True, nogil=True, fastmath={"contract", "nsz", "reassoc"})
def _add_products(pixels: Floats, data: Floats, products: Floats, responses: Floats) -> None:
    """Add some pixels to the lower triangle of the products and to the responses.

    Two rows by two at a time: what is loaded serves twice.
    """
    size, count = data.size, responses.size
    for n in range(0, count, 2):
        other = min(n + 1, count - 1)
        mine, next_ = pixels[n], pixels[other]
        first, second = 0.0, 0.0
        for p in range(size):
            first += mine[p] * data[p]
            second += next_[p] * data[p]
        responses[n] += first
        if other > n:
            responses[other] += second
        for m in range(0, n + 1, 2):
            last = min(m + 1, count - 1)
            one, two = pixels[m], pixels[last]
            a, b, c, d = 0.0, 0.0, 0.0, 0.0
            for p in range(size):
                a += mine[p] * one[p]
                b += mine[p] * two[p]
                c += next_[p] * one[p]
                d += next_[p] * two[p]
            products[n, m] += a
            if last > m:
                products[n, last] += b
            if other > n:
                products[other, m] += c
            if last > m and other > n:
                products[other, last] += d


@njit(cache=True, nogil=True)
def _reduce(
    sharp: Image,
    broad: Image,
    variance: Image,
    sharp_variance: Image,
    usable: NDArray[np.bool_],
    images: Floats,
    products: Floats,
    responses: Floats,
    scalars: Floats,
) -> None:
    """Sums of one stamp with its basis ``images``.

    ``scalars``: power, pixels, sum of variance, signal-weighted variance, sum of sharp variance.
    """
    scalars[0] = _sum_products(images, broad, usable, products, responses)
    reach = (sharp.shape[0] - broad.shape[0]) // 2
    noise, weighted, weights, blur, pixels = 0.0, 0.0, 0.0, 0.0, 0
    for j in range(broad.shape[0]):
        for i in range(broad.shape[1]):
            if usable[j, i]:
                signal = sharp[reach + j, reach + i] ** 2
                pixels += 1
                noise += variance[j, i]
                weighted += signal * variance[j, i]
                weights += signal
                blur += sharp_variance[j, i]
    scalars[1] = pixels
    scalars[2] = noise
    scalars[3] = weighted / weights if weights > 0.0 else np.nan
    scalars[4] = blur


def reduce_stamps(pixels: StampPixels, basis: AnyBasis) -> Stamps:
    """The sums of all stamps; of one without a usable pixel or signal they are 0."""
    count, size = len(pixels), basis.count + 1
    products, responses = np.zeros((count, size, size)), np.zeros((count, size))
    scalars = np.zeros((count, 5))

    def stamps(start: int, stop: int) -> None:
        images = np.empty((basis.count, *pixels.broad.shape[1:]))
        for k in range(start, stop):
            if isinstance(basis, TabulatedBasis):
                _table_images(pixels.sharp[k], basis.table, images)
            else:
                _basis_images(pixels.sharp[k], basis.filters, basis.rows, basis.columns, images)
            _reduce(
                pixels.sharp[k], pixels.broad[k], pixels.variance[k], pixels.sharp_variance[k],
                pixels.usable[k], images, products[k], responses[k], scalars[k],
            )  # fmt: skip

    over_rows(stamps, count, band_rows=8)
    mixed_products, mixed_responses = _mix(basis, products, responses)
    power, found, variances, noise, blur = scalars.T
    told = (found > 0) & np.isfinite(noise) & (noise > 0)
    inverse = np.where(told, 1.0 / np.where(told, noise, 1.0), 0.0)
    return Stamps(
        pixels.x.astype(np.float64),
        pixels.y.astype(np.float64),
        mixed_products * inverse[:, None, None],
        mixed_responses * inverse[:, None],
        power * inverse,
        np.where(told, found, 0.0).astype(np.int64),
        variances * inverse,
        noise,
        blur * inverse,
    )


def _mix(basis: AnyBasis, products: Floats, responses: Floats) -> tuple[Floats, Floats]:
    """From raw to normalised elements; the constant stays."""
    mix = np.eye(basis.count + 1)
    mix[:-1, :-1] = basis.mix
    left = np.einsum("ij,kjl->kil", mix, products)
    return np.einsum("kil,ml->kim", left, mix), np.einsum("ij,kj->ki", mix, responses)


@njit(cache=True, nogil=True)
def solve_positive(matrix: Floats, right: Floats) -> Floats:
    """Solve a symmetric positive definite system by Cholesky, rows scaled to unit diagonal.

    One thread and one order of summation, so the bytes do not depend on a library's threads.
    Directions without information (pivot below 1e-13) are left at zero.
    """
    lower, scale = factor_positive(matrix)
    solution: Floats = solve_factored(lower, scale, right)
    return solution


@njit(cache=True, nogil=True, fastmath={"contract", "nsz", "reassoc"})
def factor_positive(matrix: Floats) -> tuple[Floats, Floats]:
    """(lower triangle, scale of the rows) for :func:`solve_factored`."""
    n = matrix.shape[0]
    scale = np.ones(n)
    for i in range(n):
        if matrix[i, i] > 0.0:
            scale[i] = 1.0 / np.sqrt(matrix[i, i])
    lower = np.zeros((n, n))
    for j in range(n):
        for i in range(j, n):
            value = matrix[i, j] * scale[i] * scale[j]
            for k in range(j):
                value -= lower[i, k] * lower[j, k]
            if i == j:
                lower[j, j] = np.sqrt(value) if value > 1e-13 else 1e150
            else:
                lower[i, j] = value / lower[j, j]
    return lower, scale


@njit(cache=True, nogil=True)
def solve_factored(lower: Floats, scale: Floats, right: Floats) -> Floats:
    """The solution for one right side; see :func:`solve_positive`."""
    n = right.size
    result = np.zeros(n)
    for i in range(n):
        value = right[i] * scale[i]
        for k in range(i):
            value -= lower[i, k] * result[k]
        result[i] = value / lower[i, i]
    for i in range(n - 1, -1, -1):
        value = result[i]
        for k in range(i + 1, n):
            value -= lower[k, i] * result[k]
        result[i] = value / lower[i, i]
    return result * scale

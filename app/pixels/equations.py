"""Normal equations of the matching kernel, stamp by stamp.

In a stamp the model of the science pixels is ``sum_n a_n (B_n * T) + b`` with the basis B and the
template T. Each stamp is reduced once to its sums of products; fits over any choice of stamps, and
how well each stamp agrees with a fit, follow from those without touching pixels again.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numba import njit
from numpy.typing import NDArray

from app.pixels.bands import over_rows
from app.pixels.kernels import AnyBasis, TabulatedBasis
from app.pixels.stamp_pixels import StampPixels

Image = NDArray[np.float32]
Images = NDArray[np.float32]
Line = NDArray[np.float32]
Floats = NDArray[np.float64]


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
def _sum_shifted(source: Line, profile: Line, step: int, out: Line) -> None:
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
    filters: Image,
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    out: Images,
) -> None:
    """Convolve a template stamp with every raw element: out (n, size, size), x first.

    Along y first, with the pixels of all rows in one run; turned round, x is the same again.
    """
    wide, size = template.shape[0], out.shape[1]
    along = np.empty(size * wide, dtype=np.float32)
    turned = np.empty((filters.shape[0], wide * size), dtype=np.float32)
    for f in range(filters.shape[0]):
        _sum_shifted(template.ravel(), filters[f], wide, along)
        for y in range(size):
            for x in range(wide):
                turned[f, x * size + y] = along[y * wide + x]
    for n in range(rows.size):
        _sum_shifted(turned[rows[n]], filters[columns[n]], size, out[n].ravel())


@njit(cache=True, nogil=True)
def _table_images(template: Image, table: Floats, out: Images) -> None:
    """Convolve a template stamp with images of kernels: out (n, size, size), x first."""
    reach, size = table.shape[1], out.shape[1]
    out[:] = 0.0
    for n in range(table.shape[0]):
        for a in range(reach):
            for b in range(reach):
                weight = np.float32(table[n, reach - 1 - a, reach - 1 - b])
                for y in range(size):
                    for x in range(size):
                        out[n, x, y] += weight * template[y + a, x + b]


@njit(cache=True, nogil=True, fastmath={"contract", "nsz", "reassoc"})
def _products(lines: Floats, out: Floats) -> None:
    """Sums of products of all pairs of lines (R, pixels), R a multiple of 4: out (R, R).

    Four lines by two at a time, so that what is loaded serves often.
    """
    for n in range(0, lines.shape[0], 4):
        one, two, three, four = lines[n], lines[n + 1], lines[n + 2], lines[n + 3]
        for m in range(0, n + 4, 2):
            left, right = lines[m], lines[m + 1]
            a, b, c, d, e, f, g, h = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
            for p in range(one.size):
                x, y = left[p], right[p]
                a += one[p] * x
                b += one[p] * y
                c += two[p] * x
                d += two[p] * y
                e += three[p] * x
                f += three[p] * y
                g += four[p] * x
                h += four[p] * y
            out[n, m], out[n, m + 1], out[n + 1, m], out[n + 1, m + 1] = a, b, c, d
            out[n + 2, m], out[n + 2, m + 1], out[n + 3, m], out[n + 3, m + 1] = e, f, g, h
    for n in range(lines.shape[0]):
        for m in range(n):
            out[m, n] = out[n, m]


@njit(cache=True, nogil=True)
def _reduce(
    sharp: Image,
    broad: Image,
    variance: Image,
    sharp_variance: Image,
    usable: NDArray[np.bool_],
    images: Images,
    lines: Floats,
    sums: Floats,
    scalars: Floats,
) -> None:
    """Fill the ``sums`` of one stamp over its usable pixels: products of its basis ``images`` (x
    first), a constant and ``broad``, which are laid out in ``lines``.

    ``scalars``: pixels, sum of variance, signal-weighted variance, sum of sharp variance.
    """
    count, size = len(images), usable.shape[0]
    reach = (sharp.shape[0] - size) // 2
    noise, weighted, weights, blur = 0.0, 0.0, 0.0, 0.0
    told = lines[count]
    for j in range(size):
        for i in range(size):
            seen = 1.0 if usable[j, i] else 0.0
            signal = seen * sharp[reach + j, reach + i] ** 2
            noise += seen * variance[j, i]
            weighted += signal * variance[j, i]
            weights += signal
            blur += seen * sharp_variance[j, i]
            told[i * size + j] = seen
            lines[count + 1, i * size + j] = seen * broad[j, i]
    for n in range(count):
        own = images[n].ravel()
        for p in range(told.size):
            lines[n, p] = told[p] * own[p]
    _products(lines, sums)
    scalars[0], scalars[1], scalars[3] = told.sum(), noise, blur
    scalars[2] = weighted / weights if weights > 0.0 else np.nan


@njit(cache=True, nogil=True)
def _mixed(mix: Floats, sums: Floats, out: Floats) -> None:
    """``mix`` (n, n) times the symmetric ``sums`` times ``mix`` turned; most of mix is 0."""
    rows, columns = np.nonzero(mix)
    half = np.zeros_like(out)
    for k in range(rows.size):
        half[rows[k]] += mix[rows[k], columns[k]] * sums[columns[k], : len(mix)]
    half = half.T.copy()
    out[:] = 0.0
    for k in range(rows.size):
        out[rows[k]] += mix[rows[k], columns[k]] * half[columns[k]]


@njit(cache=True, nogil=True)
def _reduce_all(
    start: int,
    stop: int,
    sharp: Images,
    broad: Images,
    variance: Images,
    sharp_variance: Images,
    usable: NDArray[np.bool_],
    filters: Image,
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    table: Floats,
    mix: Floats,
    mixed: Floats,
    scalars: Floats,
) -> None:
    """Sums of some stamps, with the elements of ``table`` or, where it is empty, of ``filters``."""
    size, count = broad.shape[1], max(len(table), rows.size)
    images = np.empty((count, size, size), dtype=np.float32)
    padded = -(-(count + 2) // 4) * 4
    lines, sums = np.zeros((padded, size * size)), np.empty((padded, padded))
    for k in range(start, stop):
        if len(table) > 0:
            _table_images(sharp[k], table, images)
        else:
            _basis_images(sharp[k], filters, rows, columns, images)
        stamp = sharp[k], broad[k], variance[k], sharp_variance[k], usable[k]
        _reduce(*stamp, images, lines, sums, scalars[k])
        _mixed(mix, sums, mixed[k])


def reduce_stamps(pixels: StampPixels, basis: AnyBasis) -> Stamps:
    """The sums of all stamps; of one without a usable pixel or signal they are 0."""
    count, size = len(pixels), basis.count + 2
    mix, mixed, scalars = np.eye(size), np.zeros((count, size, size)), np.zeros((count, 4))
    mix[: basis.count, : basis.count] = basis.mix
    no_table, none = np.empty((0, 1, 1)), np.empty(0, dtype=np.int64)
    no_filters = np.empty((0, 1), dtype=np.float32)

    def stamps(start: int, stop: int) -> None:
        planes = pixels.sharp, pixels.broad, pixels.variance, pixels.sharp_variance, pixels.usable
        if isinstance(basis, TabulatedBasis):
            filters, rows, columns, table = no_filters, none, none, basis.table
        else:
            filters, rows, columns = basis.filters.astype(np.float32), basis.rows, basis.columns
            table = no_table
        _reduce_all(start, stop, *planes, filters, rows, columns, table, mix, mixed, scalars)

    over_rows(stamps, count, band_rows=8)
    found, variances, noise, blur = scalars.T
    told = (found > 0) & np.isfinite(noise) & (noise > 0)
    inverse = np.where(told, 1.0 / np.where(told, noise, 1.0), 0.0)
    mixed *= inverse[:, None, None]
    return Stamps(
        pixels.x.astype(np.float64),
        pixels.y.astype(np.float64),
        np.ascontiguousarray(mixed[:, :-1, :-1]),
        np.ascontiguousarray(mixed[:, -1, :-1]),
        mixed[:, -1, -1].copy(),
        np.where(told, found, 0.0).astype(np.int64),
        variances * inverse,
        noise,
        blur * inverse,
    )


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

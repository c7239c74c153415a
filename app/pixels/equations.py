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
from app.pixels.kernels import Basis

Image = NDArray[np.float32]
Floats = NDArray[np.float64]

MODEL_ERROR: Final = 0.01
"""Share of the signal by which a model with one PSF per place may be wrong without blame."""


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

    def joined(self, other: Stamps) -> Stamps:
        """These stamps followed by others."""
        mine = (getattr(self, each.name) for each in fields(self))
        theirs = (getattr(other, each.name) for each in fields(other))
        return Stamps(*(np.concatenate(pair) for pair in zip(mine, theirs, strict=True)))

    def __len__(self) -> int:
        return len(self.x)


@njit(cache=True, nogil=True, fastmath={"contract", "nsz", "reassoc"})
def _basis_images(
    template: Image,
    filters: Floats,
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    out: Floats,
) -> None:
    """Convolve a template stamp with every raw element: out (n, size, size)."""
    taps = filters.shape[1]
    size = out.shape[1]
    wide = template.shape[0]
    across = np.zeros((filters.shape[0], wide, size))
    for f in range(filters.shape[0]):
        for y in range(wide):
            for tap in range(taps):
                weight = filters[f, taps - 1 - tap]
                for x in range(size):
                    across[f, y, x] += weight * template[y, x + tap]
    out[:] = 0.0
    for n in range(rows.size):
        for y in range(size):
            for tap in range(taps):
                weight = filters[rows[n], taps - 1 - tap]
                for x in range(size):
                    out[n, y, x] += weight * across[columns[n], y + tap, x]


@njit(cache=True, nogil=True, fastmath={"contract", "nsz", "reassoc"})
def _sum_products(
    images: Floats, science: Image, usable: NDArray[np.bool_], products: Floats, responses: Floats
) -> float:
    """Fill the sums over usable pixels of raw basis images and a constant; returns the power."""
    count, rows, columns = images.shape
    pixels = np.empty((count + 1, rows * columns))
    data = np.empty(rows * columns)
    size = 0
    for y in range(rows):
        for x in range(columns):
            if usable[y, x]:
                for n in range(count):
                    pixels[n, size] = images[n, y, x]
                pixels[count, size] = 1.0
                data[size] = science[y, x]
                size += 1
    power = 0.0
    for p in range(size):
        power += data[p] * data[p]
    for n in range(count + 1):
        response = 0.0
        for p in range(size):
            response += pixels[n, p] * data[p]
        responses[n] = response
        for m in range(n + 1):
            product = 0.0
            for p in range(size):
                product += pixels[n, p] * pixels[m, p]
            products[n, m] = product
            products[m, n] = product
    return power


@njit(cache=True, nogil=True)
def _reduce(
    start: int,
    stop: int,
    x: NDArray[np.int64],
    y: NDArray[np.int64],
    half: int,
    reach: int,
    template: Image,
    science: Image,
    variance: Image,
    template_variance: Image,
    usable: NDArray[np.bool_],
    filters: Floats,
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    products: Floats,
    responses: Floats,
    scalars: Floats,
) -> None:
    """Sums of stamps ``start`` … ``stop``; planes are padded by half + reach on every side.

    ``scalars`` (K, 5): power, pixels, sum of variance, signal-weighted variance, sum of template
    variance.
    """
    size = 2 * half + 1
    images = np.empty((rows.size, size, size))
    for k in range(start, stop):
        top, left = y[k] + reach, x[k] + reach
        inner = (slice(top, top + size), slice(left, left + size))
        outer = (slice(top - reach, top + size + reach), slice(left - reach, left + size + reach))
        _basis_images(template[outer], filters, rows, columns, images)
        good = usable[inner]
        scalars[k, 0] = _sum_products(images, science[inner], good, products[k], responses[k])
        noise, weighted, weights, blur, pixels = 0.0, 0.0, 0.0, 0.0, 0
        for j in range(size):
            for i in range(size):
                if good[j, i]:
                    signal = template[top + j, left + i] ** 2
                    pixels += 1
                    noise += variance[top + j, left + i]
                    weighted += signal * variance[top + j, left + i]
                    weights += signal
                    blur += template_variance[top + j, left + i]
        scalars[k, 1] = pixels
        scalars[k, 2] = noise
        scalars[k, 3] = weighted / weights if weights > 0.0 else np.nan
        scalars[k, 4] = blur


def reduce_stamps(
    template: Image,
    science: Image,
    variance: Image,
    template_variance: Image,
    usable: NDArray[np.bool_],
    basis: Basis,
    x: NDArray[np.int64],
    y: NDArray[np.int64],
    half_px: int,
) -> Stamps:
    """Reduce the square stamps of ±``half_px`` around the given pixels.

    The planes share one grid and are finite everywhere; ``variance`` is that of science minus
    matched template and of the model's own error, ``template_variance`` that of the template; only
    ``usable`` pixels count (their template must be known over the kernel). Stamps without a usable
    pixel are left out.
    """
    pad = half_px + basis.half_px
    count, size = len(x), basis.count + 1
    products, responses = np.zeros((count, size, size)), np.zeros((count, size))
    scalars = np.zeros((count, 5))
    given = (template, science, variance, template_variance, usable)
    planes = [np.pad(plane, pad) for plane in given]

    def stamps(start: int, stop: int) -> None:
        _reduce(
            start, stop, x, y, half_px, basis.half_px, *planes,
            basis.filters, basis.rows, basis.columns, products, responses, scalars,
        )  # fmt: skip

    over_rows(stamps, count, band_rows=8)
    mixed_products, mixed_responses = _mix(basis, products, responses)
    power, pixels, variances, noise, blur = scalars.T
    found = (pixels > 0) & np.isfinite(noise) & (noise > 0)
    unit = np.where(found, noise, 1.0)
    return Stamps(
        x.astype(np.float64),
        y.astype(np.float64),
        mixed_products / unit[:, None, None],
        mixed_responses / unit[:, None],
        power / unit,
        pixels.astype(np.int64),
        variances / unit,
        noise,
        blur / unit,
    ).chosen(found)


def _mix(basis: Basis, products: Floats, responses: Floats) -> tuple[Floats, Floats]:
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
    n = right.size
    scale = np.ones(n)
    for i in range(n):
        if matrix[i, i] > 0.0:
            scale[i] = 1.0 / np.sqrt(matrix[i, i])
    lower = np.zeros((n, n))
    result = np.zeros(n)
    for j in range(n):
        for i in range(j, n):
            value = matrix[i, j] * scale[i] * scale[j]
            for k in range(j):
                value -= lower[i, k] * lower[j, k]
            if i == j:
                lower[j, j] = np.sqrt(value) if value > 1e-13 else np.inf
            else:
                lower[i, j] = value / lower[j, j]
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

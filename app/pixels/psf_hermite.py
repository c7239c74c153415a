"""What stars show in common beyond a Moffat profile: Gauss–Hermite functions of the scaled offset.

The functions (Refregier 2003, MNRAS 338, 35) are those of s = M d with the Moffat's own matrix M,
so they grow, turn and stretch with the profile over the image; one set of coefficients, relative to
the profile's peak, holds for all of it.
"""

from __future__ import annotations

from math import factorial
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from app.pixels.bands import over_rows
from app.pixels.equations import solve_positive
from app.pixels.kernels import polynomial_powers
from app.pixels.psf_moffat import MoffatFit, StarPixels

Floats = NDArray[np.float64]

ORDER: Final = 6
PRIOR: Final = 0.02
"""How large coefficients are expected to be, as a share of the peak."""
POWERS: Final = np.array(polynomial_powers(ORDER))
NORMS: Final = np.array(
    [(2.0**n * factorial(n) * np.sqrt(np.pi)) ** -0.5 for n in range(ORDER + 1)]
)
ROUNDS: Final = 2
SIZE: Final = len(POWERS)
"""A constant of the compiled code: its loops over the functions need no remainder."""


def width_of(beta: float) -> float:
    """Gaussian sigma in units of |s| with the Moffat's half-maximum radius."""
    return float(np.sqrt((2.0 ** (1.0 / beta) - 1.0) / (2.0 * np.log(2.0))))


def hermite_sum(
    coefficients: Floats, elements: Floats, beta: float, dx: Floats, dy: Floats
) -> Floats:
    """Sum of the functions at offsets (px) where M has these ``elements`` (xx, xy, yy)."""
    width = width_of(beta)
    total = np.empty(dx.size)
    _sum_functions(coefficients, elements, width, dx.ravel(), dy.ravel(), POWERS, NORMS, total)
    return total.reshape(dx.shape)


@njit(cache=True, nogil=True, inline="always")
def _functions(t: float, gauss: float, values: Floats) -> None:
    """Gauss–Hermite functions at t but for their norms, where ``gauss`` is exp(-t²/2) or a share of
    it."""
    values[0], values[1] = gauss, 2.0 * t * gauss
    for n in range(1, ORDER):
        values[n + 1] = 2.0 * t * values[n] - 2.0 * n * values[n - 1]


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _sum_functions(
    coefficients: Floats,
    elements: Floats,
    width: float,
    dx: Floats,
    dy: Floats,
    powers: NDArray[np.int64],
    norms: Floats,
    total: Floats,
) -> None:
    factors = np.empty(SIZE)
    for m in range(SIZE):
        factors[m] = coefficients[m] * norms[powers[m, 0]] * norms[powers[m, 1]]
    along_x, along_y = np.empty(ORDER + 1), np.empty(ORDER + 1)
    for n in range(total.size):
        tx = (elements[0] * dx[n] + elements[1] * dy[n]) / width
        ty = (elements[1] * dx[n] + elements[2] * dy[n]) / width
        gauss = np.exp(-0.25 * (tx * tx + ty * ty))
        _functions(tx, gauss, along_x)
        _functions(ty, gauss, along_y)
        total[n] = 0.0
        for m in range(SIZE):
            total[n] += factors[m] * along_x[powers[m, 0]] * along_y[powers[m, 1]]


def fit_hermite(pixels: StarPixels, fit: MoffatFit) -> Floats:
    """Coefficients of the functions, in the order of :data:`POWERS`, by robust least squares."""
    count = len(pixels)
    elements = np.ascontiguousarray(fit.matrix(pixels.terms.T).T)
    coefficients = np.zeros(SIZE)
    for _ in range(ROUNDS):
        matrix, right = np.zeros((count, SIZE, SIZE)), np.zeros((count, SIZE))

        def each(
            start: int,
            stop: int,
            now: Floats = coefficients,
            matrix: Floats = matrix,
            right: Floats = right,
        ) -> None:
            _add_up(
                start, stop, pixels.value, pixels.inverse, elements, fit.beta, fit.stars,
                width_of(fit.beta), POWERS, NORMS, now, matrix, right,
            )  # fmt: skip

        over_rows(each, count, band_rows=8)
        prior = np.eye(SIZE) / PRIOR**2
        coefficients = solve_positive(matrix.sum(axis=0) + prior, right.sum(axis=0))
    return coefficients


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _add_up(
    start: int,
    stop: int,
    value: Floats,
    inverse: Floats,
    elements: Floats,
    beta: float,
    stars: Floats,
    width: float,
    powers: NDArray[np.int64],
    norms: Floats,
    now: Floats,
    matrix: Floats,
    right: Floats,
) -> None:
    """Normal equations of stars; weights are those of soft-L1 loss around the sum ``now``."""
    half, most = value.shape[1] // 2, value.shape[1] * value.shape[2]
    along_x, along_y = np.empty(ORDER + 1), np.empty(ORDER + 1)
    terms, left, weight = np.empty((SIZE, most)), np.empty(most), np.empty(most)
    for k in range(start, stop):
        xx, xy, yy = elements[k, 0], elements[k, 1], elements[k, 2]
        amplitude, sky, cx, cy = stars[k, 0], stars[k, 1], stars[k, 2], stars[k, 3]
        count = 0
        for j in range(value.shape[1]):
            for i in range(value.shape[2]):
                if inverse[k, j, i] == 0.0:
                    continue
                dx, dy = i - half - cx, j - half - cy
                sx, sy = xx * dx + xy * dy, xy * dx + yy * dy
                r2 = sx * sx + sy * sy
                tx, ty = sx / width, sy / width
                gauss = np.exp(-0.25 * (tx * tx + ty * ty))
                _functions(tx, gauss, along_x)
                _functions(ty, gauss, along_y)
                for n in range(ORDER + 1):
                    along_x[n] *= norms[n]
                    along_y[n] *= norms[n]
                for m in range(SIZE):
                    terms[m, count] = along_x[powers[m, 0]] * along_y[powers[m, 1]]
                profile = np.exp(-beta * np.log(1.0 + r2))
                left[count] = (value[k, j, i] - sky) / amplitude - profile
                weight[count] = inverse[k, j, i] * amplitude * amplitude
                count += 1
        _soften(terms, left[:count], now, weight[:count])
        _add_products(terms, left[:count], weight[:count], matrix[k], right[k])


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _soften(terms: Floats, left: Floats, now: Floats, weight: Floats) -> None:
    """Weights of soft-L1 loss of what the sum leaves, from those of least squares."""
    rest = left.copy()
    for m in range(SIZE):
        line = terms[m]
        for n in range(rest.size):
            rest[n] -= now[m] * line[n]
    for n in range(rest.size):
        weight[n] /= np.sqrt(1.0 + rest[n] * rest[n] * weight[n])


@njit(cache=True, nogil=True, fastmath=True)
def _add_products(
    terms: Floats, left: Floats, weight: Floats, matrix: Floats, right: Floats
) -> None:
    """Fill the normal equations; the rows of ``terms`` may be longer than the others.

    Four products are made at a time: each number that is read takes part in all of them.
    """
    part = np.empty(weight.size)
    for m in range(SIZE):
        line, response = terms[m], 0.0
        for p in range(part.size):
            part[p] = weight[p] * line[p]
            response += part[p] * left[p]
        right[m] = response
        for n in range(0, m + 1, 4):
            one, two = terms[n], terms[min(n + 1, m)]
            three, four = terms[min(n + 2, m)], terms[min(n + 3, m)]
            first, second, third, fourth = 0.0, 0.0, 0.0, 0.0
            for p in range(part.size):
                first += part[p] * one[p]
                second += part[p] * two[p]
                third += part[p] * three[p]
                fourth += part[p] * four[p]
            sums = (first, second, third, fourth)
            for k in range(min(4, m + 1 - n)):
                matrix[m, n + k] = matrix[n + k, m] = sums[k]

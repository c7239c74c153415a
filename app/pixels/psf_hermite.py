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


def width_of(beta: float) -> float:
    """Gaussian sigma in units of |s| with the Moffat's half-maximum radius."""
    return float(np.sqrt((2.0 ** (1.0 / beta) - 1.0) / (2.0 * np.log(2.0))))


def hermite_sum(
    coefficients: Floats, elements: Floats, beta: float, dx: Floats, dy: Floats
) -> Floats:
    """Sum of the functions at offsets (px) where M has these ``elements`` (xx, xy, yy)."""
    xx, xy, yy = elements
    width = width_of(beta)
    along_x = _functions((xx * dx + xy * dy) / width)
    along_y = _functions((xy * dx + yy * dy) / width)
    total = np.zeros_like(dx, dtype=np.float64)
    for coefficient, (i, j) in zip(coefficients, POWERS, strict=True):
        total += coefficient * along_x[i] * along_y[j]
    return total


def _functions(t: Floats) -> Floats:
    """Orthonormal Gauss–Hermite functions 0 … ORDER at t: (ORDER + 1, *t.shape)."""
    values = np.empty((ORDER + 1, *t.shape))
    values[0], values[1] = np.exp(-0.5 * t * t), 2.0 * t * np.exp(-0.5 * t * t)
    for n in range(1, ORDER):
        values[n + 1] = 2.0 * t * values[n] - 2.0 * n * values[n - 1]
    scaled: Floats = values * NORMS.reshape(-1, *([1] * t.ndim))
    return scaled


def fit_hermite(pixels: StarPixels, fit: MoffatFit) -> Floats:
    """Coefficients of the functions, in the order of :data:`POWERS`, by robust least squares."""
    count, size = len(pixels), len(POWERS)
    elements = np.ascontiguousarray(fit.matrix(pixels.terms.T).T)
    coefficients = np.zeros(size)
    for _ in range(ROUNDS):
        matrix, right = np.zeros((count, size, size)), np.zeros((count, size))

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
        prior = np.eye(size) / PRIOR**2
        coefficients = solve_positive(matrix.sum(axis=0) + prior, right.sum(axis=0))
    return coefficients


@njit(cache=True, nogil=True, fastmath=True)
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
    size, orders, half = powers.shape[0], norms.size, value.shape[1] // 2
    along_x, along_y, terms = np.empty(orders), np.empty(orders), np.empty(size)
    for k in range(start, stop):
        xx, xy, yy = elements[k, 0], elements[k, 1], elements[k, 2]
        amplitude, sky, cx, cy = stars[k, 0], stars[k, 1], stars[k, 2], stars[k, 3]
        for j in range(value.shape[1]):
            for i in range(value.shape[2]):
                if inverse[k, j, i] == 0.0:
                    continue
                dx, dy = i - half - cx, j - half - cy
                sx, sy = xx * dx + xy * dy, xy * dx + yy * dy
                r2 = sx * sx + sy * sy
                tx, ty = sx / width, sy / width
                gauss = np.exp(-0.25 * (tx * tx + ty * ty))
                along_x[0], along_x[1] = gauss, 2.0 * tx * gauss
                along_y[0], along_y[1] = gauss, 2.0 * ty * gauss
                for n in range(1, orders - 1):
                    along_x[n + 1] = 2.0 * tx * along_x[n] - 2.0 * n * along_x[n - 1]
                    along_y[n + 1] = 2.0 * ty * along_y[n] - 2.0 * n * along_y[n - 1]
                left = (value[k, j, i] - sky) / amplitude - np.exp(-beta * np.log(1.0 + r2))
                rest = left
                for m in range(size):
                    p, q = powers[m, 0], powers[m, 1]
                    terms[m] = along_x[p] * norms[p] * along_y[q] * norms[q]
                    rest -= now[m] * terms[m]
                strength = inverse[k, j, i] * amplitude * amplitude
                weight = strength / np.sqrt(1.0 + rest * rest * strength)
                for m in range(size):
                    part = weight * terms[m]
                    right[k, m] += part * left
                    for n in range(m + 1):
                        matrix[k, m, n] += part * terms[n]
        for m in range(size):
            for n in range(m):
                matrix[k, n, m] = matrix[k, m, n]

"""Second moments of stars and PSF stamps under the weight that fits them best.

Adaptive moments (Bernstein & Jarvis 2002, AJ 123, 583): the weight is the elliptical Gaussian whose
own weighted moments agree with those of the object, so that for a Gaussian they are its true
moments and for profiles with wings they stay finite and quiet.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float64]

MOST_ROUNDS: Final = 60
WIDEST_PX: Final = 20.0
NARROWEST_PX: Final = 0.3
FURTHEST_PX: Final = 3.0
"""Objects whose centre moves further than this from where it was looked for are left out."""
LEAST_EXPONENT: Final = 600.0
"""Weights down to exp of minus this can be told from 0. Objects so thin and long that they have
less within their square are lines."""


@njit(cache=True, nogil=True, error_model="numpy")
def adaptive_moments(
    plane: NDArray[Any], x: float, y: float, sigma_px: float, reach: float, tolerance: float
) -> Floats:
    """Centre x, y, moments Ixx, Iyy, Ixy (px²) and Gaussian-matched flux of the object near (x, y).

    The weight is cut off ``reach`` sigma out. All NaN when the iteration, which starts from a
    round Gaussian of ``sigma_px``, fails, leaves the plane, meets a NaN pixel or comes to a line.
    """
    ny, nx = plane.shape
    found = np.full(6, np.nan)
    cx, cy = x, y
    ixx, iyy, ixy = sigma_px**2, sigma_px**2, 0.0
    lines = np.empty((4, 2 * int(reach * max(WIDEST_PX, sigma_px)) + 3))
    for _ in range(MOST_ROUNDS):
        area = ixx * iyy - ixy * ixy
        half = int(reach * np.sqrt(max(ixx, iyy))) + 1
        row, column = int(np.floor(cy + 0.5)), int(np.floor(cx + 0.5))
        if row < half or column < half or row + half >= ny or column + half >= nx:
            break
        form = iyy / area, -ixy / area, ixx / area
        if (0.5 * (form[0] + form[2]) + abs(form[1])) * half * half > LEAST_EXPONENT:
            break
        part = plane[row - half : row + half + 1, column - half : column + half + 1]
        sums = _weighted_sums(part, cx - column, cy - row, form, lines[:, : 2 * half + 1])
        total, mx, my, mxx, myy, mxy, power = sums
        if not total > 0.0:
            break
        sxx, syy, sxy = 2.0 * mxx / total, 2.0 * myy / total, 2.0 * mxy / total
        square = sxx * syy - sxy * sxy
        if not (sxx > 0.0 and square > 0.0 and max(sxx, syy) < WIDEST_PX**2):
            break
        step_x, step_y = 2.0 * mx / total, 2.0 * my / total
        change = abs(sxx - ixx) + abs(syy - iyy) + abs(sxy - ixy)
        done = change < tolerance * (ixx + iyy) and abs(step_x) + abs(step_y) < tolerance
        cx, cy = cx + step_x, cy + step_y
        if abs(cx - x) > FURTHEST_PX or abs(cy - y) > FURTHEST_PX:
            break
        ixx, iyy, ixy = max(sxx, NARROWEST_PX**2), max(syy, NARROWEST_PX**2), sxy
        if done:
            found[0], found[1], found[2], found[3], found[4] = cx, cy, ixx, iyy, ixy
            found[5] = total * 2.0 * np.pi * np.sqrt(square) / power
            break
    return found


@njit(cache=True, nogil=True, fastmath={"contract", "nsz", "reassoc"})
def _weighted_sums(
    part: NDArray[Any], cx: float, cy: float, form: tuple[float, float, float], lines: Floats
) -> tuple[float, float, float, float, float, float, float]:
    """Sums of w v, w v x, w v y, w v x², w v y², w v x y and w² around (``cx``, ``cy``) from the
    middle of a square, for the weight w = exp(-(a x² + 2 b x y + c y²) / 2).

    A Gaussian's values follow one another by products, here from row to row, so that vector
    instructions make a row. ``lines`` (4, width) is room for them.
    """
    a, b, c = form
    half = part.shape[0] // 2
    dx, weight, change, value = lines[0], lines[1], lines[2], lines[3]
    dy = -half - cy
    for i in range(dx.size):
        dx[i] = i - half - cx
        weight[i] = np.exp(-0.5 * (a * dx[i] * dx[i] + 2.0 * b * dx[i] * dy + c * dy * dy))
        change[i] = np.exp(-b * dx[i])
    ratio, fall = np.exp(-c * (dy + 0.5)), np.exp(-c)
    total, mx, my, mxx, myy, mxy, power = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for j in range(part.shape[0]):
        line = part[j]
        first, second, third, square = 0.0, 0.0, 0.0, 0.0
        for i in range(dx.size):
            value[i] = weight[i] * line[i]
        for i in range(dx.size):
            along = value[i] * dx[i]
            first += value[i]
            second += along
            third += along * dx[i]
            square += weight[i] * weight[i]
        for i in range(dx.size):
            weight[i] *= change[i] * ratio
        total, mx, my = total + first, mx + second, my + first * dy
        mxx, myy, mxy = mxx + third, myy + first * dy * dy, mxy + second * dy
        power += square
        ratio *= fall
        dy += 1.0
    return total, mx, my, mxx, myy, mxy, power

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


@njit(cache=True, nogil=True, error_model="numpy")
def adaptive_moments(
    plane: NDArray[Any], x: float, y: float, sigma_px: float, reach: float, tolerance: float
) -> Floats:
    """Centre x, y, moments Ixx, Iyy, Ixy (px²) and Gaussian-matched flux of the object near (x, y).

    The weight is cut off ``reach`` sigma out. All NaN when the iteration, which starts from a
    round Gaussian of ``sigma_px``, fails, leaves the plane or meets a NaN pixel.
    """
    ny, nx = plane.shape
    found = np.full(6, np.nan)
    cx, cy = x, y
    ixx, iyy, ixy = sigma_px**2, sigma_px**2, 0.0
    for _ in range(MOST_ROUNDS):
        area = ixx * iyy - ixy * ixy
        half = int(reach * np.sqrt(max(ixx, iyy))) + 1
        row, column = int(np.floor(cy + 0.5)), int(np.floor(cx + 0.5))
        if row < half or column < half or row + half >= ny or column + half >= nx:
            break
        a, b, c = iyy / area, -ixy / area, ixx / area
        fall = np.exp(-a)
        total, mx, my, mxx, myy, mxy, power = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
        for j in range(row - half, row + half + 1):
            dy = j - cy
            # a Gaussian's values follow one another by products: from the row's peak to both sides
            peak = min(max(int(np.floor(cx - b * dy / a + 0.5)), column - half), column + half)
            for step in (1, -1):
                i = peak if step == 1 else peak - 1
                dx = i - cx
                weight = np.exp(-0.5 * (a * dx * dx + 2.0 * b * dx * dy + c * dy * dy))
                ratio = np.exp(-0.5 * a - step * (a * dx + b * dy))
                while abs(i - column) <= half:
                    dx = i - cx
                    value = weight * plane[j, i]
                    total += value
                    mx += value * dx
                    my += value * dy
                    mxx += value * dx * dx
                    myy += value * dy * dy
                    mxy += value * dx * dy
                    power += weight * weight
                    weight *= ratio
                    ratio *= fall
                    i += step
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

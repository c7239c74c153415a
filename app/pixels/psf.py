"""The point spread function as the stars of an image show it.

Stars are told from galaxies and cosmic rays by size: Gaussian-weighted adaptive moments (Bernstein
& Jarvis 2002, AJ 123, 583) of all bright compact sources, of which the densest group of sizes is
kept. The width is that of one elliptical Moffat profile (Moffat 1969, A&A 3, 455) fitted to the
pixels of these stars together, each at its own sub-pixel centre, so nothing is resampled.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from app.errors import CoverageError
from app.pixels.background import FIT_REJECT, estimate_background
from app.pixels.candidates import peaks_above, source_map
from app.pixels.equations import solve_positive
from app.pixels.image import MaskedImage
from app.pixels.kernels import FWHM_TO_SIGMA
from app.pixels.peaks import Peaks
from app.pixels.stencil import PHASES, stencil_table

Floats = NDArray[np.float64]

SIGNIFICANCES: Final = (40.0, 15.0)
"""Stars of at least the first are used; if there are fewer than FEW, of at least the second."""
FEW: Final = 5
MOST_STARS: Final = 40
GUESS_FWHM_PX: Final = 3.5
FWHM_RANGE_PX: Final = (1.0, 30.0)


@dataclass(frozen=True, slots=True)
class Stars:
    """Centres (px), Gaussian sigma (px) and Gaussian-matched flux of stars, brightest first."""

    x: Floats
    y: Floats
    sigma_px: Floats
    flux: Floats

    def __len__(self) -> int:
        return len(self.x)


@dataclass(frozen=True, slots=True)
class PsfModel:
    """Elliptical Moffat of unit flux: (1 + r^2)^-beta, r^2 = a dx^2 + 2 b dx dy + c dy^2."""

    a: float
    b: float
    c: float
    beta: float
    stars: int

    @property
    def fwhm_px(self) -> float:
        """Geometric mean of the full widths at half maximum along the two axes."""
        area = 1.0 / np.sqrt(self.a * self.c - self.b**2)
        return float(2.0 * np.sqrt((2.0 ** (1.0 / self.beta) - 1.0) * area))

    def stamp(self, half_px: int, *, dx: float = 0.0, dy: float = 0.0) -> Floats:
        """Unit-sum stamp (2 half + 1 square) with the star at (dx, dy) from its middle."""
        u = np.arange(-half_px, half_px + 1, dtype=np.float64)
        profile = _moffat(
            np.array([self.a, self.b, self.c]), self.beta, u[None] - dx, u[:, None] - dy
        )
        normalised: Floats = profile / profile.sum()
        return normalised


def measure_fwhm_px(image: MaskedImage) -> float | None:
    """FWHM of the stars in pixels, or None when the image shows none."""
    model = measure_psf(image)
    return None if model is None else model.fwhm_px


def measure_psf(image: MaskedImage) -> PsfModel | None:
    """The Moffat profile that the stars of the image share, or None when it shows none."""
    try:
        level = estimate_background(image).level
        stars = find_stars(image, level)
    except CoverageError:
        return None
    return _fit_moffat(image, level, stars) if len(stars) else None


def find_stars(image: MaskedImage, level: NDArray[np.float32]) -> Stars:
    """Unsaturated stars far from bad pixels, above the background ``level``.

    Raises CoverageError when no sky can be seen.
    """
    clean = np.where(image.usable(FIT_REJECT), image.flux - level, np.nan).astype(np.float32)
    stars = Stars(*np.zeros((4, 0)))
    values = source_map(image, GUESS_FWHM_PX, level)
    for significance in SIGNIFICANCES:
        peaks = peaks_above(values, GUESS_FWHM_PX, significance)
        stars = _compact(_measured(clean, peaks))
        if len(stars) >= FEW:
            break
    return stars


def _measured(clean: NDArray[np.float32], peaks: Peaks) -> Stars:
    """Adaptive moments of the peaks; those that do not converge are left out."""
    table = _adaptive_moments(clean, peaks.x, peaks.y, GUESS_FWHM_PX * FWHM_TO_SIGMA)
    x, y, sigma, flux = table[np.isfinite(table).all(axis=1)].T
    return Stars(x, y, sigma, flux)


@njit(cache=True, nogil=True)
def _adaptive_moments(
    clean: NDArray[np.float32], x: NDArray[np.int64], y: NDArray[np.int64], first_sigma: float
) -> Floats:
    """Per peak x, y, sigma and flux; NaN when the iteration fails or meets a NaN pixel."""
    ny, nx = clean.shape
    result = np.full((x.size, 4), np.nan)
    for k in range(x.size):
        cx, cy, sigma = float(x[k]), float(y[k]), first_sigma
        for _ in range(60):
            half = int(3.0 * sigma) + 1
            row, column = int(np.floor(cy + 0.5)), int(np.floor(cx + 0.5))
            if row < half or column < half or row + half >= ny or column + half >= nx:
                break
            total, mx, my, mr, weights = 0.0, 0.0, 0.0, 0.0, 0.0
            for j in range(row - half, row + half + 1):
                for i in range(column - half, column + half + 1):
                    r2 = (i - cx) ** 2 + (j - cy) ** 2
                    weight = np.exp(-0.5 * r2 / sigma**2)
                    value = weight * clean[j, i]
                    total += value
                    mx += value * (i - cx)
                    my += value * (j - cy)
                    mr += value * r2
                    weights += weight * weight
            if not (total > 0.0 and mr > 0.0):
                break
            step_x, step_y, new = 2.0 * mx / total, 2.0 * my / total, np.sqrt(mr / total)
            cx, cy = cx + step_x, cy + step_y
            done = abs(new - sigma) < 1e-3 * sigma and abs(step_x) + abs(step_y) < 1e-3
            sigma = min(max(new, 0.3), 15.0)
            if abs(cx - x[k]) > 3.0 or abs(cy - y[k]) > 3.0:
                break
            if done:
                result[k, 0], result[k, 1], result[k, 2] = cx, cy, sigma
                result[k, 3] = total * 2.0 * np.pi * sigma**2 / weights
                break
    return result


def _compact(stars: Stars) -> Stars:
    """The stars of the densest group of log sizes, at most MOST_STARS.

    Real stars share one size; galaxies scatter above it, cosmic rays and hot pixels below.
    """
    real = stars.sigma_px > 0.42
    x, y, sigma, flux = (v[real] for v in (stars.x, stars.y, stars.sigma_px, stars.flux))
    if len(x) == 0:
        return Stars(x, y, sigma, flux)
    size = np.log(sigma)
    neighbours = np.abs(size[:, None] - size[None, :]) < 0.06
    densest = float(np.median(size[neighbours[np.argmax(neighbours.sum(axis=1))]]))
    kept = np.flatnonzero(np.abs(size - densest) < 0.12)[:MOST_STARS]
    return Stars(x[kept], y[kept], sigma[kept], flux[kept])


def _moffat(shape: Floats, beta: float, dx: Floats, dy: Floats) -> Floats:
    a, b, c = shape
    profile: Floats = (1.0 + a * dx * dx + 2.0 * b * dx * dy + c * dy * dy) ** (-beta)
    return profile


def _fit_moffat(image: MaskedImage, level: NDArray[np.float32], stars: Stars) -> PsfModel | None:
    """One profile for all stars; None if the fit ends outside FWHM_RANGE_PX."""
    dx, dy, value, weight = _star_pixels(image, level, stars)
    sigma = float(np.median(stars.sigma_px))
    root = np.sqrt(2.0 ** (1.0 / 3.0) - 1.0) / (sigma / FWHM_TO_SIGMA / 2.0)

    def residual(p: Floats) -> Floats:
        a, b, c, beta = _shape_of(p)
        wrong: Floats = p[4] * _moffat(np.array([a, b, c]), beta, dx, dy) + p[5] - value
        return wrong * weight

    start = np.array([root, 0.0, root, -1.5, 1.0 / (2.0 * np.pi * sigma**2), 0.0])
    model = PsfModel(*_shape_of(_least_squares(residual, start)), len(stars))
    within = model.a * model.c > model.b**2 and FWHM_RANGE_PX[0] < model.fwhm_px < FWHM_RANGE_PX[1]
    return model if within else None


def _shape_of(p: Floats) -> tuple[float, float, float, float]:
    """a, b, c of a positive definite form and beta within 1.5 … 10 from free parameters."""
    a, b, c = p[0] ** 2 + p[1] ** 2, p[1] * (p[0] + p[2]), p[1] ** 2 + p[2] ** 2
    return float(a), float(b), float(c), float(1.5 + 8.5 / (1.0 + np.exp(-p[3])))


def _least_squares(residual: Callable[[Floats], Floats], start: Floats) -> Floats:
    """Levenberg-Marquardt with soft-L1 loss, so that neighbours and defects weigh little."""
    point, damping = start, 1e-3
    wrong = residual(point)
    cost = _soft_cost(wrong)
    for _ in range(60):
        step = 1e-5 * (np.abs(point) + 1e-3)
        slopes = np.stack([(residual(point + e) - wrong) / e.sum() for e in np.diag(step)])
        trust = 1.0 / np.sqrt(1.0 + wrong**2)
        matrix = np.einsum("ip,jp->ij", slopes * trust, slopes)
        right = -np.einsum("ip,p->i", slopes * trust, wrong)
        move = solve_positive(matrix * (1.0 + damping * np.eye(len(point))), right)
        tried = residual(point + move)
        better = _soft_cost(tried)
        if better < cost:
            done = cost - better < 1e-7 * cost
            point, wrong, cost, damping = point + move, tried, better, 0.1 * damping
            if done:
                break
        elif damping > 1e6:
            break
        else:
            damping *= 10.0
    return point


def _soft_cost(wrong: Floats) -> float:
    cost = float((np.sqrt(1.0 + wrong**2) - 1.0).sum())
    return cost if np.isfinite(cost) else np.inf


def _star_pixels(
    image: MaskedImage, level: NDArray[np.float32], stars: Stars
) -> tuple[Floats, Floats, Floats, Floats]:
    """Offsets, unit-flux values and weights of the pixels within two FWHM of every star.

    Weights add 2 % of the star's peak to the noise, so that no single star rules the fit.
    """
    good = image.usable(FIT_REJECT)
    reach = int(np.ceil(2.0 * float(np.median(stars.sigma_px)) / FWHM_TO_SIGMA))
    ny, nx = image.shape
    parts: list[Floats] = []
    for x, y, sigma, flux in zip(stars.x, stars.y, stars.sigma_px, stars.flux, strict=True):
        row, column = round(float(y)), round(float(x))
        j, i = np.mgrid[
            max(0, row - reach) : min(ny, row + reach + 1),
            max(0, column - reach) : min(nx, column + reach + 1),
        ]
        near = ((j - y) ** 2 + (i - x) ** 2 <= reach**2) & good[j, i]
        j, i = j[near], i[near]
        floor = 0.02 * flux / (2.0 * np.pi * sigma**2)
        noise = np.sqrt(image.variance[j, i] + floor**2) / flux
        value = (image.flux[j, i] - level[j, i]) / flux
        parts.append(np.stack([i - x, j - y, value, 1.0 / noise]))
    dx, dy, value, weight = np.concatenate(parts, axis=1)
    return dx, dy, value, weight


def psf_stamp(image: MaskedImage, half_px: int) -> Floats | None:
    """Unit-sum median of the stars, each shifted to the middle (Lanczos-3); None without stars."""
    try:
        level = estimate_background(image).level
        stars = find_stars(image, level)
    except CoverageError:
        return None
    clean = np.where(image.usable(FIT_REJECT), image.flux - level, np.nan)
    shifted = [
        _centred(clean, x, y, half_px) / flux
        for x, y, flux in zip(stars.x, stars.y, stars.flux, strict=True)
    ]
    whole = [stamp for stamp in shifted if np.isfinite(stamp).all()]
    if not whole:
        return None
    stamp: Floats = np.median(np.array(whole), axis=0)
    return stamp / float(stamp.sum())


def _centred(plane: NDArray[np.floating], x: float, y: float, half_px: int) -> Floats:
    """Cut-out with (x, y) in its middle; NaN where it leaves the image."""
    table = stencil_table("lanczos3").astype(np.float64)
    floor_x, floor_y = int(np.floor(x)), int(np.floor(y))
    along_x = table[round((x - floor_x) * PHASES)]
    along_y = table[round((y - floor_y) * PHASES)]
    size = 2 * half_px + 1
    reach = half_px + 3
    wide = np.pad(plane, reach, constant_values=np.nan)
    rows = slice(floor_y + reach - half_px - 2, floor_y + reach + half_px + 4)
    columns = slice(floor_x + reach - half_px - 2, floor_x + reach + half_px + 4)
    part = wide[rows, columns].astype(np.float64)
    down = sum(along_y[tap] * part[tap : tap + size] for tap in range(6))
    across: Floats = np.asarray(sum(along_x[t] * down[:, t : t + size] for t in range(6)))
    return across

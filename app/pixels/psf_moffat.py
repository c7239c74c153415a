"""One elliptical Moffat profile whose shape varies over the image, fitted to many stars at once.

Moffat 1969, A&A 3, 455. The profile is (1 + |M d|²)^-beta at the offset d from a star's own centre;
the three elements of the symmetric matrix M are polynomials of the place, beta is one number. Every
star has an amplitude, a sky and a centre of its own. These are eliminated star by star (Schur
complement), so a step costs one pass over the pixels whatever the number of stars; nothing is
resampled. Soft-L1 loss keeps neighbours and defects from mattering.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from app.pixels.background import Background
from app.pixels.bands import over_rows
from app.pixels.equations import solve_positive
from app.pixels.image import MaskedImage
from app.pixels.kernels import FWHM_TO_SIGMA, polynomial_powers, polynomial_terms
from app.pixels.psf_stars import Stars

Floats = NDArray[np.float64]

REACH_FWHM: Final = 2.0
FLOOR_SHARES: Final = (0.01, 0.002)
"""By which share of itself, and of a star's peak, a model may be wrong: no bright star rules."""
BETA_RANGE: Final = (1.5, 10.0)
SHAPES: Final = 3
LOCALS: Final = 4
UNKNOWNS: Final = 1 + SHAPES + LOCALS
"""Of a star's equations: beta's, M's elements and the star's own."""
SKY: Final = 1
"""Number of the sky among the unknowns of a star."""
MOST_STEPS: Final = 40
LEAST_CHANGE: Final = 0.01
"""By how much stars of one PSF may differ in relative size and ellipticity beyond their noise."""
SKY_PRIOR: Final = 0.1
"""What may be left of the sky at a star, in units of the noise of a pixel. Were it free, it would
take the wings of the profile."""
VARIATION_PRIOR: Final = (np.inf, 0.03, 0.01)
"""Expected coefficients of M's polynomials of each order, relative to M: stars must show more."""
ENOUGH: Final = 1e-4
"""The fit ends when a step lowers the cost by less than this share of it."""


@dataclass(frozen=True, slots=True)
class StarPixels:
    """Stamps of K stars: ``value`` and ``inverse`` variance (0: not used) of shape (K, S, S).

    ``column``, ``row``: middle pixel of each stamp; ``terms`` (K, T): polynomial terms at the star,
    of ``order``; ``noise``: that of a pixel of blank sky.
    """

    value: Floats
    inverse: Floats
    column: NDArray[np.int64]
    row: NDArray[np.int64]
    terms: Floats
    order: int
    noise: float

    def chosen(self, which: NDArray[np.bool_]) -> StarPixels:
        """The stars marked in ``which``."""
        return StarPixels(
            self.value[which],
            self.inverse[which],
            self.column[which],
            self.row[which],
            self.terms[which],
            self.order,
            self.noise,
        )

    def __len__(self) -> int:
        return len(self.row)


@dataclass(frozen=True, slots=True)
class MoffatFit:
    """The model and the stars it was fitted to.

    ``coefficients`` (3, T): polynomials of M's elements xx, xy, yy. ``stars`` (K, 4): amplitude,
    sky and centre from the middle of the stamp; ``cost`` (K,): for each pixel used; ``own`` (K, 3):
    by how many errors a star's size and ellipticities differ from the model's.
    """

    coefficients: Floats
    beta: float
    stars: Floats
    cost: Floats
    own: Floats

    def chosen(self, which: NDArray[np.bool_]) -> MoffatFit:
        """The same model with some of the stars."""
        return replace(self, stars=self.stars[which], cost=self.cost[which], own=self.own[which])

    def matrix(self, terms: Floats) -> Floats:
        """M's elements (3, …) where the polynomial terms are ``terms`` (T, …)."""
        elements: Floats = np.tensordot(self.coefficients, terms, axes=1)
        return elements


def moffat(elements: Floats, beta: float, dx: Floats, dy: Floats) -> Floats:
    """Profile of unit flux at offsets, for elements (xx, xy, yy) of M."""
    xx, xy, yy = elements
    r2 = (xx * dx + xy * dy) ** 2 + (xy * dx + yy * dy) ** 2
    norm = (beta - 1.0) * abs(xx * yy - xy**2) / np.pi
    profile: Floats = norm * (1.0 + r2) ** (-beta)
    return profile


def moffat_fwhm_px(elements: Floats, beta: float) -> float:
    """Diameter of the circle with the area of the half-maximum ellipse."""
    xx, xy, yy = elements
    return float(2.0 * np.sqrt((2.0 ** (1.0 / beta) - 1.0) / abs(xx * yy - xy**2)))


def cut_stars(
    image: MaskedImage,
    good: NDArray[np.bool_],
    background: Background,
    stars: Stars,
    order: int,
) -> StarPixels:
    """The pixels within REACH_FWHM of each star. The model floor is in the variance."""
    sigma = float(np.median(stars.sigma_px))
    half = int(np.ceil(REACH_FWHM * sigma / FWHM_TO_SIGMA))
    column, row = np.rint(stars.x).astype(np.int64), np.rint(stars.y).astype(np.int64)
    shape = (len(stars), 2 * half + 1, 2 * half + 1)
    value, inverse = np.zeros(shape), np.zeros(shape)
    peak = stars.flux / (2.0 * np.pi * stars.sigma_px**2)
    _cut(
        image.flux,
        image.variance,
        good,
        background.level,
        column,
        row,
        stars.x,
        stars.y,
        peak,
        1.0 / stars.sigma_px**2,
        FLOOR_SHARES[0],
        FLOOR_SHARES[1],
        value,
        inverse,
    )
    terms = polynomial_terms(order, stars.x, stars.y, image.shape).T
    terms = np.ascontiguousarray(terms)
    return StarPixels(value, inverse, column, row, terms, order, background.noise)


@njit(cache=True, nogil=True)
def _cut(
    flux: NDArray[np.float32],
    variance: NDArray[np.float32],
    good: NDArray[np.bool_],
    level: NDArray[np.float32],
    column: NDArray[np.int64],
    row: NDArray[np.int64],
    x: Floats,
    y: Floats,
    peak: Floats,
    sharpness: Floats,
    share: float,
    least_share: float,
    value: Floats,
    inverse: Floats,
) -> None:
    ny, nx = flux.shape
    half = value.shape[1] // 2
    for k in range(row.size):
        for j in range(max(0, row[k] - half), min(ny, row[k] + half + 1)):
            for i in range(max(0, column[k] - half), min(nx, column[k] + half + 1)):
                r2 = (i - x[k]) ** 2 + (j - y[k]) ** 2
                if good[j, i] and r2 <= half * half:
                    floor = least_share + share / (1.0 + 0.26 * r2 * sharpness[k]) ** 2.5
                    at_j, at_i = j - row[k] + half, i - column[k] + half
                    value[k, at_j, at_i] = flux[j, i] - level[j, i]
                    inverse[k, at_j, at_i] = 1.0 / (variance[j, i] + (floor * peak[k]) ** 2)


def fit_moffat(pixels: StarPixels, start: MoffatFit) -> MoffatFit | None:
    """Levenberg–Marquardt from ``start``; None when M is not positive definite everywhere."""
    fit, damping = start, 1e-3
    now = _Sums.of(pixels, fit)
    for _ in range(MOST_STEPS):
        tried = _stepped(pixels, fit, now, damping)
        new = _Sums.of(pixels, tried)
        if new.total < now.total:
            done = now.total - new.total < ENOUGH * now.total
            fit, now, damping = tried, new, 0.1 * damping
            if done:
                break
        elif damping > 1e6:
            break
        else:
            damping *= 10.0
    xx, xy, yy = fit.matrix(pixels.terms.T)
    if not (np.isfinite(now.total) and (xx > 0).all() and (xx * yy > xy**2).all()):
        return None
    used = np.maximum(np.count_nonzero(pixels.inverse, axis=(1, 2)), 1)
    return replace(fit, cost=now.cost / used, own=_own_shapes(pixels, fit, now))


def start_moffat(pixels: StarPixels, stars: Stars) -> MoffatFit:
    """A constant profile with the median moments of the stars."""
    beta, terms = 3.0, pixels.terms.shape[1]
    covariance = np.array([np.median(stars.ixx), np.median(stars.ixy), np.median(stars.iyy)]) * (
        FWHM_TO_SIGMA**-2 / 4.0 / (2.0 ** (1.0 / beta) - 1.0)
    )
    matrix = np.array([[covariance[0], covariance[1]], [covariance[1], covariance[2]]])
    values, vectors = np.linalg.eigh(matrix)
    root = (vectors / np.sqrt(values)) @ vectors.T
    shape = np.zeros((SHAPES, terms))
    shape[:, 0] = root[0, 0], root[0, 1], root[1, 1]
    own = np.zeros((len(stars), LOCALS))
    own[:, 0] = stars.flux * (beta - 1.0) / np.pi * np.linalg.det(root)
    own[:, 2], own[:, 3] = stars.x - pixels.column, stars.y - pixels.row
    return MoffatFit(shape, beta, own, np.zeros(len(stars)), np.zeros((len(stars), SHAPES)))


@dataclass(frozen=True, slots=True)
class _Sums:
    """Normal equations of every star: ``matrix`` (K, 8, 8), ``right`` (K, 8), ``cost`` (K,).

    Unknowns: beta's, M's three elements at the star, amplitude, sky and centre of the star.
    """

    matrix: Floats
    right: Floats
    cost: Floats
    total: float

    @classmethod
    def of(cls, pixels: StarPixels, fit: MoffatFit) -> _Sums:
        count = len(pixels)
        matrix, right = np.zeros((count, UNKNOWNS, UNKNOWNS)), np.zeros((count, UNKNOWNS))
        cost = np.zeros(count)
        elements = np.ascontiguousarray(fit.matrix(pixels.terms.T).T)

        def each(start: int, stop: int) -> None:
            _add_up(
                start, stop, pixels.value, pixels.inverse, elements, fit.beta, fit.stars,
                matrix, right, cost,
            )  # fmt: skip

        over_rows(each, count, band_rows=8)
        sky = fit.stars[:, SKY]
        certain = (SKY_PRIOR * pixels.noise) ** -2
        matrix[:, SHAPES + 1 + SKY, SHAPES + 1 + SKY] += certain
        right[:, SHAPES + 1 + SKY] -= certain * sky
        varying = (_variation_weights(pixels.order, fit) * fit.coefficients**2).sum()
        total = float(cost.sum() + 0.5 * (certain * (sky**2).sum() + varying))
        return cls(matrix, right, cost, total if np.isfinite(total) else np.inf)


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _add_up(
    start: int,
    stop: int,
    value: Floats,
    inverse: Floats,
    elements: Floats,
    beta: float,
    stars: Floats,
    matrix: Floats,
    right: Floats,
    cost: Floats,
) -> None:
    half, most = value.shape[1] // 2, value.shape[1] * value.shape[2]
    slopes, wrong, weight = np.empty((UNKNOWNS, most)), np.empty(most), np.empty(most)
    beta_rate = (beta - 1.5) * (10.0 - beta) / 8.5
    for k in range(start, stop):
        xx, xy, yy = elements[k, 0], elements[k, 1], elements[k, 2]
        amplitude, sky, cx, cy = stars[k, 0], stars[k, 1], stars[k, 2], stars[k, 3]
        count = 0
        for j in range(value.shape[1]):
            dy = j - half - cy
            for i in range(value.shape[2]):
                if inverse[k, j, i] == 0.0:
                    continue
                dx = i - half - cx
                sx, sy = xx * dx + xy * dy, xy * dx + yy * dy
                q = 1.0 + sx * sx + sy * sy
                log_q = np.log(q)
                profile = np.exp(-beta * log_q)
                wrong[count] = amplitude * profile + sky - value[k, j, i]
                weight[count] = inverse[k, j, i]
                steep = -2.0 * amplitude * beta * profile / q
                slopes[0, count] = -amplitude * profile * log_q * beta_rate
                slopes[1, count] = steep * sx * dx
                slopes[2, count] = steep * (sx * dy + sy * dx)
                slopes[3, count] = steep * sy * dy
                slopes[4, count] = profile
                slopes[5, count] = 1.0
                slopes[6, count] = -steep * (xx * sx + xy * sy)
                slopes[7, count] = -steep * (xy * sx + yy * sy)
                count += 1
        cost[k] = _soften(wrong[:count], weight[:count])
        _add_products(slopes, wrong[:count], weight[:count], matrix[k], right[k])


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _soften(wrong: Floats, weight: Floats) -> float:
    """The soft-L1 cost of residuals; ``weight``, their inverse variances, become those of least
    squares with the same slope."""
    cost = 0.0
    for n in range(wrong.size):
        soft = np.sqrt(1.0 + wrong[n] * wrong[n] * weight[n])
        cost += soft - 1.0
        weight[n] /= soft
    return cost


@njit(cache=True, nogil=True, fastmath=True)
def _add_products(
    slopes: Floats, wrong: Floats, weight: Floats, matrix: Floats, right: Floats
) -> None:
    """Fill a star's normal equations; the rows of ``slopes`` may be longer than the others."""
    part = np.empty(weight.size)
    for m in range(UNKNOWNS):
        line, response = slopes[m], 0.0
        for p in range(part.size):
            part[p] = weight[p] * line[p]
            response -= part[p] * wrong[p]
        right[m] = response
        for n in range(0, m + 1, 2):
            one, two = slopes[n], slopes[min(n + 1, m)]
            first, second = 0.0, 0.0
            for p in range(part.size):
                first += part[p] * one[p]
                second += part[p] * two[p]
            matrix[m, n] = matrix[n, m] = first
            if n < m:
                matrix[m, n + 1] = matrix[n + 1, m] = second


def _stepped(pixels: StarPixels, fit: MoffatFit, sums: _Sums, damping: float) -> MoffatFit:
    """The fit after one damped Gauss–Newton step: first the shared unknowns, then the stars'."""
    size = sums.right.shape[1]
    damped = sums.matrix * (1.0 + damping * np.eye(size))
    split = size - LOCALS
    coupling, inner = damped[:, :split, split:], damped[:, split:, split:]
    solved = np.linalg.solve(inner, np.concatenate(
        [coupling.transpose(0, 2, 1), sums.right[:, split:, None]], axis=2
    ))  # fmt: skip
    reduced = damped[:, :split, :split] - coupling @ solved[:, :, :split]
    target = sums.right[:, :split] - (coupling @ solved[:, :, split:])[:, :, 0]
    shared = _shared_step(reduced, target, pixels, fit)
    beta_step, shape_step = shared[0], shared[1:].reshape(fit.coefficients.shape)
    here = np.concatenate([np.full((len(pixels), 1), beta_step), pixels.terms @ shape_step.T], 1)
    own = solved[:, :, split] - (solved[:, :, :split] @ here[:, :, None])[:, :, 0]
    low, high = BETA_RANGE
    logit = np.log((fit.beta - low) / (high - fit.beta)) + np.clip(beta_step, -2.0, 2.0)
    beta = float(low + (high - low) / (1.0 + np.exp(-np.clip(logit, -6.0, 6.0))))
    stepped = fit.coefficients + shape_step
    return replace(fit, coefficients=stepped, beta=beta, stars=fit.stars + own)


def _shared_step(reduced: Floats, target: Floats, pixels: StarPixels, fit: MoffatFit) -> Floats:
    """Solve for beta and the polynomial coefficients from each star's reduced equations."""
    terms = pixels.terms
    count = terms.shape[1]
    spread = np.zeros((len(terms), 1 + SHAPES, 1 + SHAPES * count))
    spread[:, 0, 0] = 1.0
    for n in range(SHAPES):
        spread[:, 1 + n, 1 + n * count : 1 + (n + 1) * count] = terms
    turned = spread.transpose(0, 2, 1)
    matrix = (turned @ reduced @ spread).sum(axis=0)
    right = (turned @ target[:, :, None]).sum(axis=0)[:, 0]
    prior = _variation_weights(pixels.order, fit)
    matrix[1:, 1:] += np.diag(prior.ravel())
    right[1:] -= (prior * fit.coefficients).ravel()
    step: Floats = solve_positive(matrix, right)
    return step


def _variation_weights(order: int, fit: MoffatFit) -> Floats:
    """1 / variance expected of the coefficients of M's polynomials, (3, T)."""
    expected = np.array([VARIATION_PRIOR[i + j] for i, j in polynomial_powers(order)])
    scale = 0.5 * (fit.coefficients[0, 0] + fit.coefficients[2, 0])
    weights: Floats = np.broadcast_to((expected * scale) ** -2.0, fit.coefficients.shape)
    return weights


def _own_shapes(pixels: StarPixels, fit: MoffatFit, sums: _Sums) -> Floats:
    """What each star alone would change of M: size and two ellipticities over their errors."""
    free = sums.matrix[:, 1:, 1:] * (1.0 + 1e-9 * np.eye(SHAPES + LOCALS))
    inverse = np.linalg.inv(free)
    change = (inverse @ sums.right[:, 1:, None])[:, :SHAPES, 0]
    trace = fit.matrix(pixels.terms.T)[[0, 2]].sum(axis=0)[:, None]
    turn = np.array([[-1.0, 0.0, -1.0], [-1.0, 0.0, 1.0], [0.0, 2.0, 0.0]])
    variance = np.einsum("ai,kij,aj->ka", turn, inverse[:, :SHAPES, :SHAPES], turn) / trace**2
    own: Floats = change @ turn.T / trace / np.sqrt(variance + LEAST_CHANGE**2)
    return own

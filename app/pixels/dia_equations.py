"""The normal equations of point sources on a stamp, and their solution, as compiled code.

A source is a few hundred pixels and a handful of unknowns: calls of a library for arrays would cost
ten times as much as the arithmetic.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from app.pixels.detect import LEAST_SHARE
from app.pixels.equations import factor_positive, solve_factored
from app.pixels.psf_field import Profile
from app.pixels.psf_planes import TABLE, fill_planes

Floats = NDArray[np.float64]
Chosen = NDArray[np.bool_]
Numbers = NDArray[np.int64]

MOST_ROUNDS: Final = 25
TOLERANCE_PX: Final = 1e-3
LARGEST_STEP_PX: Final = 0.5
LARGEST_PIVOT: Final = 1.5
"""Pivots of rows with unit diagonal are at most 1; those without information are put far above."""


class Pixels(NamedTuple):
    """Planes of a stamp, and the place (x, y) of its first pixel on the image."""

    flux: Floats
    variance: Floats
    good: Chosen
    corner: tuple[int, int]


class Psfs(NamedTuple):
    """``samples`` (n, odd, odd) of the PSFs of n sources, ``sampling`` (n,) pixels apart, and the
    ``table`` of weights between them."""

    samples: Floats
    sampling: Floats
    table: Floats


def packed(profiles: Sequence[Profile]) -> Psfs:
    """The samples of all in the middle of planes that hold the largest."""
    size = tuple(max(each.samples.shape[axis] for each in profiles) for axis in (0, 1))
    samples = np.zeros((len(profiles), *size))
    for plane, each in zip(samples, profiles, strict=True):
        edge_y, edge_x = (
            (whole - own) // 2 for whole, own in zip(size, each.samples.shape, strict=True)
        )
        plane[edge_y : size[0] - edge_y, edge_x : size[1] - edge_x] = each.samples
    return Psfs(samples, np.array([float(each.sampling) for each in profiles]), TABLE)


@njit(cache=True, nogil=True)
def fit_sources(
    pixels: Pixels, psfs: Psfs, starts: Floats, reach_px: float, own_px: int, scatter: float
) -> Floats:
    """x, y, their errors, flux, its error, chi², count of pixels and whether it converged: (n, 9).

    See :func:`app.pixels.dia_psf_fit.fit_psfs`. With ``reach_px`` 0 all stay at their ``starts``.
    """
    seen = np.flatnonzero(pixels.good)
    places, planes = starts.copy(), np.empty((len(starts), 3, *pixels.flux.shape))
    _place(pixels, psfs, places, planes)
    shown = _shown(pixels, planes)
    free = np.zeros_like(shown)
    if reach_px > 0.0:
        free = _settle(pixels, psfs, seen, shown, reach_px, places, planes)
    found = np.full((len(places), 9), np.nan)
    left = _fluxes(pixels, seen, planes, shown, free, scatter, found)
    found[:, :2] = places
    found[:, 8] = free if reach_px > 0.0 else shown
    for n in range(len(places)):
        chi2, found[n, 7] = _misfit(pixels, left, places[n], own_px)
        if shown[n]:
            found[n, 6] = chi2 / scatter**2
    return found


@njit(cache=True, nogil=True)
def light_of(pixels: Pixels, psfs: Psfs, places: Floats, fluxes: Floats) -> Floats:
    """What each source has on the pixels (n, side, side); nothing where its flux is NaN."""
    planes = np.empty((len(places), 3, *pixels.flux.shape))
    _place(pixels, psfs, places, planes)
    light = np.empty((len(places), *pixels.flux.shape))
    for n in range(len(places)):
        light[n] = (0.0 if np.isnan(fluxes[n]) else fluxes[n]) * planes[n, 0]
    return light


@njit(cache=True, nogil=True)
def _place(pixels: Pixels, psfs: Psfs, places: Floats, planes: Floats) -> None:
    """Fill ``planes`` (n, 3, side, side): PSFs and their slopes."""
    for n in range(len(places)):
        x, y = pixels.corner[0] - places[n, 0], pixels.corner[1] - places[n, 1]
        fill_planes(psfs.samples[n], psfs.sampling[n], x, y, psfs.table, planes[n])


@njit(cache=True, nogil=True)
def _shown(pixels: Pixels, planes: Floats) -> Chosen:
    """Which sources have enough of their PSF on usable pixels."""
    shown = np.zeros(len(planes), np.bool_)
    for n in range(len(planes)):
        seen, whole = 0.0, 0.0
        values, good = planes[n, 0].ravel(), pixels.good.ravel()
        for p in range(values.size):
            whole += values[p] ** 2
            seen += values[p] ** 2 if good[p] else 0.0
        shown[n] = seen >= LEAST_SHARE * whole
    return shown


@njit(cache=True, nogil=True)
def _settle(
    pixels: Pixels,
    psfs: Psfs,
    seen: Numbers,
    shown: Chosen,
    reach_px: float,
    places: Floats,
    planes: Floats,
) -> Chosen:
    """Move places, and planes with them, until all rest; which of them did within their reach."""
    starts, free = places.copy(), shown.copy()
    for _ in range(MOST_ROUNDS):
        if not free.any():
            return free
        steps = _steps(pixels, seen, planes, shown, free)
        moved = places + steps
        away = moved - starts
        lost = free & ~(np.hypot(away[:, 0], away[:, 1]) <= reach_px)
        if not lost.any() and np.abs(steps).max() < TOLERANCE_PX:
            return free
        for n in range(len(places)):
            places[n] = starts[n] if lost[n] else moved[n]
        free &= ~lost
        _place(pixels, psfs, places, planes)
    for n in range(len(places)):
        places[n] = starts[n] if free[n] else places[n]
    _place(pixels, psfs, places, planes)
    return np.zeros_like(free)


@njit(cache=True, nogil=True, error_model="numpy")
def _steps(pixels: Pixels, seen: Numbers, planes: Floats, shown: Chosen, free: Chosen) -> Floats:
    """How far the ``free`` places are to move (Gauss-Newton); NaN where pixels do not tell."""
    steps, flux = np.zeros((free.size, 2)), np.zeros(free.size)
    terms = _terms(pixels, seen, planes, shown, free)
    factors = _factors(_products(terms, np.ones(seen.size)))
    bright, moving = np.flatnonzero(shown), np.flatnonzero(free)
    flux[bright] = factors[: bright.size]
    for k in range(moving.size):
        for axis in range(2):
            step = factors[bright.size + axis * moving.size + k] / flux[moving[k]]
            steps[moving[k], axis] = np.minimum(np.maximum(step, -LARGEST_STEP_PX), LARGEST_STEP_PX)
    return steps


@njit(cache=True, nogil=True, error_model="numpy")
def _fluxes(
    pixels: Pixels,
    seen: Numbers,
    planes: Floats,
    shown: Chosen,
    free: Chosen,
    scatter: float,
    found: Floats,
) -> Floats:
    """Fluxes and errors of what is ``shown``, into the table of :func:`fit_sources`, and what is
    left of the flux on the stamp. Errors are those of a fit of the ``free`` places."""
    left = pixels.flux.copy()
    bright, moving = np.flatnonzero(shown), np.flatnonzero(free)
    if bright.size == 0:
        return left
    light = _terms(pixels, seen, planes, shown, np.zeros_like(free))
    fluxes = _factors(_products(light, np.ones(seen.size)))
    terms = _terms(pixels, seen, planes, shown, free)
    errors = scatter * _deviations(terms, pixels.variance.ravel()[seen])
    for k in range(bright.size):
        found[bright[k], 4], found[bright[k], 5] = fluxes[k], errors[k]
        left -= fluxes[k] * planes[bright[k], 0]
    for k in range(moving.size):
        for axis in range(2):
            error = errors[bright.size + axis * moving.size + k]
            found[moving[k], 2 + axis] = error / abs(found[moving[k], 4])
    return left


@njit(cache=True, nogil=True)
def _misfit(pixels: Pixels, left: Floats, place: Floats, own_px: int) -> tuple[float, int]:
    """chi² and count of the usable pixels of the square about a place."""
    ny, nx = left.shape
    column = int(np.rint(place[0])) - pixels.corner[0]
    row = int(np.rint(place[1])) - pixels.corner[1]
    chi2, count = 0.0, 0
    for y in range(max(0, row - own_px), min(ny, row + own_px + 1)):
        for x in range(max(0, column - own_px), min(nx, column + own_px + 1)):
            if pixels.good[y, x]:
                chi2 += left[y, x] ** 2 / pixels.variance[y, x]
                count += 1
    return chi2, count


@njit(cache=True, nogil=True)
def _terms(pixels: Pixels, seen: Numbers, planes: Floats, shown: Chosen, free: Chosen) -> Floats:
    """For each pixel that is ``seen`` what the fluxes of the sources that are shown multiply, and
    the moves of the free ones along x, then y; and last its own flux."""
    moving = 3 * np.flatnonzero(free)
    chosen = np.concatenate((3 * np.flatnonzero(shown), moving + 1, moving + 2))
    flat, flux = planes.reshape(3 * len(planes), -1), pixels.flux.ravel()
    terms = np.empty((seen.size, chosen.size + 1))
    for p in range(seen.size):
        for k in range(chosen.size):
            terms[p, k] = flat[chosen[k], seen[p]]
        terms[p, chosen.size] = flux[seen[p]]
    return terms


@njit(cache=True, nogil=True)
def _products(terms: Floats, weights: Floats) -> Floats:
    """Sums over the pixels of the products of all pairs of terms."""
    size = terms.shape[1]
    sums = np.zeros((size, size))
    for p in range(len(terms)):
        for a in range(size):
            value = weights[p] * terms[p, a]
            for b in range(size):
                sums[a, b] += value * terms[p, b]
    return sums


@njit(cache=True, nogil=True)
def _factors(products: Floats) -> Floats:
    """Of the terms, by least squares; NaN where they are not determined."""
    lower, scale = factor_positive(products[:-1, :-1].copy())
    if not (np.diag(lower) < LARGEST_PIVOT).all():
        return np.full(len(lower), np.nan)
    factors: Floats = solve_factored(lower, scale, products[:-1, -1].copy())
    return factors


@njit(cache=True, nogil=True)
def _deviations(terms: Floats, variance: Floats) -> Floats:
    """Standard deviations of the factors that least squares with equal weights find."""
    products = _products(terms, np.ones(len(terms)))
    lower, scale = factor_positive(products[:-1, :-1].copy())
    deviations = np.full(len(lower), np.nan)
    if not (np.diag(lower) < LARGEST_PIVOT).all():
        return deviations
    noise = _products(terms, variance)
    for k in range(len(lower)):
        unit = np.zeros(len(lower))
        unit[k] = 1.0
        row = solve_factored(lower, scale, unit)
        total = 0.0
        for a in range(len(lower)):
            for b in range(len(lower)):
                total += row[a] * noise[a, b] * row[b]
        deviations[k] = np.sqrt(max(total, 0.0))
    return deviations

"""Point sources on a stamp: where they are and how bright, by least squares with the PSF.

Sources that share light are fitted together. Pixels have equal weights: a variance plane that
holds the sources' own photon noise would pull weighted fluxes down. Errors are those of the
estimate under the variance of each pixel (the sandwich of the normal equations).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from app.pixels.detect import LEAST_SHARE
from app.pixels.dia_images import Stamp
from app.pixels.psf_field import Profile

Floats = NDArray[np.float64]
Chosen = NDArray[np.bool_]

MOST_ROUNDS: Final = 25
TOLERANCE_PX: Final = 1e-3
LARGEST_STEP_PX: Final = 0.5
MISFIT: Final = 0.02
"""Part of a flux that a model of the PSF may lack."""


@dataclass(frozen=True, slots=True)
class PsfFit:
    """Centre (0-based pixels of the image), flux, their standard deviations, and chi² of the pixels
    around the source that were used. All but the place are NaN where too little of the PSF is on
    usable pixels."""

    x: float
    y: float
    x_err: float
    y_err: float
    flux: float
    flux_err: float
    chi2: float
    n_pixels: int
    converged: bool

    @property
    def reduced_chi2(self) -> float:
        """For each degree of freedom, of which a misfit of MISFIT of the flux counts as noise;
        NaN where there is none."""
        if self.n_pixels <= 3:
            return float("nan")
        allowed = 1.0 + (MISFIT * self.flux / self.flux_err) ** 2
        return self.chi2 / (self.n_pixels - 3) / allowed


def fit_psfs(
    stamp: Stamp,
    profiles: Sequence[Profile],
    starts: Floats,
    *,
    reach_px: float,
    own_px: int,
    scatter: float,
) -> list[PsfFit]:
    """Fit places and fluxes of sources together, from the places ``starts`` (n, 2).

    A source whose place does not settle within ``reach_px`` of its start stays there, and has not
    ``converged``. ``own_px``: half the side of the square about a source whose pixels its chi²
    tells of; ``scatter``: a factor on all errors.
    """
    fit = _Fit(stamp, profiles, starts)
    free = fit.shown.copy()
    for _ in range(MOST_ROUNDS):
        if not free.any():
            break
        steps = fit.steps(free)
        places = fit.places + steps
        lost = free & ~(np.hypot(*(places - starts).T) <= reach_px)
        if not lost.any() and np.abs(steps).max() < TOLERANCE_PX:
            break
        places[lost], free = starts[lost], free & ~lost
        fit.move(places)
    else:
        fit.move(np.where(free[:, None], starts, fit.places))
        free = np.zeros_like(free)
    return fit.told(free, free, own_px, scatter)


def forced_psfs(
    stamp: Stamp, profiles: Sequence[Profile], places: Floats, *, own_px: int, scatter: float
) -> list[PsfFit]:
    """Fluxes of point sources at ``places`` (n, 2), whose own errors stay NaN."""
    fit = _Fit(stamp, profiles, places)
    return fit.told(np.zeros_like(fit.shown), fit.shown, own_px, scatter)


def forced_psf(stamp: Stamp, profile: Profile, x: float, y: float, scatter: float) -> PsfFit:
    """The flux of one point source, alone on its stamp."""
    places = np.array([[x, y]])
    return forced_psfs(stamp, [profile], places, own_px=stamp.half_px, scatter=scatter)[0]


class _Fit:
    """The equations of one fit with the sources at ``places`` (n, 2). ``shown``: which of them have
    enough of their PSF on usable pixels; the others take no part."""

    def __init__(self, stamp: Stamp, profiles: Sequence[Profile], places: Floats) -> None:
        self._stamp, self._profiles = stamp, profiles
        self._good = stamp.good.ravel()
        self._flux, self._variance = (
            plane.ravel()[self._good] for plane in (stamp.flux, stamp.variance)
        )
        self.move(places)
        squares = self._planes[:, 0] ** 2
        self.shown: Chosen = squares @ self._good >= LEAST_SHARE * squares.sum(axis=1)

    def move(self, places: Floats) -> None:
        """Put the sources elsewhere."""
        self.places = places
        pairs = zip(self._profiles, places.tolist(), strict=True)
        self._planes = np.stack(
            [self._stamp.psf(each, x, y).reshape(3, -1) for each, (x, y) in pairs]
        )
        """(n, 3, pixels): PSFs and their slopes; and of the usable pixels."""
        self._seen = self._planes[..., self._good]

    def _terms(self, free: Chosen) -> Floats:
        """What the fluxes of the sources that are shown multiply, and moves of the free ones."""
        seen = self._seen
        return np.concatenate([seen[self.shown, 0], seen[free, 1], seen[free, 2]])

    def steps(self, free: Chosen) -> Floats:
        """How far the ``free`` places are to move (Gauss-Newton); NaN where pixels do not tell."""
        terms, bright = self._terms(free), int(self.shown.sum())
        steps, flux = np.zeros((len(free), 2)), np.zeros(len(free))
        factors = _solved(terms, self._flux)
        flux[self.shown] = factors[:bright]
        with np.errstate(divide="ignore", invalid="ignore"):
            moved = factors[bright:].reshape(2, -1).T / flux[free, None]
        steps[free] = np.clip(moved, -LARGEST_STEP_PX, LARGEST_STEP_PX)
        return steps

    def told(self, free: Chosen, settled: Chosen, own_px: int, scatter: float) -> list[PsfFit]:
        """The sources where they are now, with the errors of a fit of the ``free`` places."""
        shown, stamp = self.shown, self._stamp
        left = stamp.flux
        flux, flux_err = (np.full(len(free), np.nan) for _ in range(2))
        place_err = np.full((len(free), 2), np.nan)
        if shown.any():
            light, bright = self._seen[shown, 0], int(shown.sum())
            flux[shown] = _solved(light, self._flux)
            errors = scatter * self._deviations(self._terms(free))
            flux_err[shown] = errors[:bright]
            with np.errstate(divide="ignore"):
                place_err[free] = errors[bright:].reshape(2, -1).T / np.abs(flux[free, None])
            left = left - (flux[shown] @ self._planes[shown, 0]).reshape(left.shape)
        pulls = np.where(stamp.good, left**2 / stamp.variance, 0.0) / scatter**2
        found = []
        for n, (x, y) in enumerate(self.places.tolist()):
            own = stamp.square(x, y, own_px)
            chi2 = float(pulls[own].sum()) if shown[n] else float("nan")
            x_err, y_err = place_err[n].tolist()
            told = float(flux[n]), float(flux_err[n])
            count = int(np.count_nonzero(stamp.good[own]))
            found.append(PsfFit(x, y, x_err, y_err, *told, chi2, count, bool(settled[n])))
        return found

    def _deviations(self, terms: Floats) -> Floats:
        """Standard deviations of the factors of ``terms`` that least squares with equal weights
        find."""
        products = terms @ terms.T
        try:
            inverse = np.linalg.inv(products)
        except np.linalg.LinAlgError:
            return np.full(len(terms), np.nan)
        covariance = inverse @ ((terms * self._variance) @ terms.T) @ inverse
        deviations: Floats = np.sqrt(np.maximum(np.diag(covariance), 0.0))
        return deviations


def _solved(terms: Floats, seen: Floats) -> Floats:
    """Factors of the terms by least squares; NaN where they are not determined."""
    factors = np.full(len(terms), np.nan)
    with suppress(np.linalg.LinAlgError):
        factors[:] = np.linalg.solve(terms @ terms.T, terms @ seen)
    return factors

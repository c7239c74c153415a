"""A point source on a stamp: where it is and how bright, by least squares with the PSF.

Pixels have equal weights: a variance plane that holds the source's own photon noise would pull a
weighted flux down. Errors are those of the estimate under the variance of each pixel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from app.pixels.detect import LEAST_SHARE
from app.pixels.dia_images import Stamp
from app.pixels.psf_field import Profile

Floats = NDArray[np.float64]

MOST_ROUNDS: Final = 12
TOLERANCE_PX: Final = 1e-3
LARGEST_STEP_PX: Final = 0.5
DIFFERENCE_PX: Final = 0.05
"""Half the base of the differences that stand for derivatives of the PSF."""


@dataclass(frozen=True, slots=True)
class PsfFit:
    """Centre (0-based pixels of the image), flux, their standard deviations, and chi² of the pixels
    that were used. All but the place are NaN where the PSF is too little on usable pixels."""

    x: float
    y: float
    x_err: float
    y_err: float
    flux: float
    flux_err: float
    chi2: float
    n_pixels: int
    converged: bool


def fit_psf(stamp: Stamp, profile: Profile, reach_px: float, scatter: float) -> PsfFit:
    """Fit place and flux, from the middle of the stamp.

    Where the place does not settle within ``reach_px`` of the middle it is the middle, and the fit
    has not ``converged``. ``scatter`` is a factor on all errors.
    """
    x, y = float(stamp.x), float(stamp.y)
    for _ in range(MOST_ROUNDS):
        terms = psf_and_gradients(profile, *stamp.offsets(x, y))[:, stamp.good]
        flux, moved_x, moved_y = _solve(terms, stamp.flux[stamp.good])
        if not flux:
            break
        step = np.clip(np.array([moved_x, moved_y]) / flux, -LARGEST_STEP_PX, LARGEST_STEP_PX)
        x, y = x + float(step[0]), y + float(step[1])
        if not np.hypot(x - stamp.x, y - stamp.y) <= reach_px:
            break
        if np.abs(step).max() < TOLERANCE_PX:
            return forced_psf(stamp, profile, x, y, scatter)
    forced = forced_psf(stamp, profile, float(stamp.x), float(stamp.y), scatter)
    return PsfFit(
        forced.x,
        forced.y,
        float("nan"),
        float("nan"),
        forced.flux,
        forced.flux_err,
        forced.chi2,
        forced.n_pixels,
        False,
    )


def forced_psf(stamp: Stamp, profile: Profile, x: float, y: float, scatter: float) -> PsfFit:
    """The flux of a point source at a place, with the errors a fit of the place would have."""
    good, used = stamp.good, int(np.count_nonzero(stamp.good))
    planes = psf_and_gradients(profile, *stamp.offsets(x, y))
    terms, variance, seen = planes[:, good], stamp.variance[good], stamp.flux[good]
    power = float((terms[0] ** 2).sum())
    if not power >= LEAST_SHARE * float((planes[0] ** 2).sum()):
        unknown = float("nan")
        return PsfFit(x, y, unknown, unknown, unknown, unknown, unknown, used, False)
    flux = float((terms[0] * seen).sum() / power)
    flux_err = float(np.sqrt((terms[0] ** 2 * variance).sum())) / power
    away = scatter * _errors(terms, variance)[1:] / abs(flux) if flux else np.full(2, np.nan)
    chi2 = float(((seen - flux * terms[0]) ** 2 / variance).sum()) / scatter**2
    return PsfFit(x, y, float(away[0]), float(away[1]), flux, scatter * flux_err, chi2, used, True)


def psf_and_gradients(profile: Profile, dx: Floats, dy: Floats) -> Floats:
    """(3, ny, nx): the PSF at these offsets, and its derivatives (per px) when its source moves
    along x and along y."""
    step = DIFFERENCE_PX
    x = np.stack([dx, dx - step, dx + step, dx, dx])
    y = np.stack([dy, dy, dy, dy - step, dy + step])
    centre, right, left, up, down = profile.values(x, y)
    return np.stack([centre, (right - left) / (2.0 * step), (up - down) / (2.0 * step)])


def _solve(terms: Floats, seen: Floats) -> tuple[float, float, float]:
    """Factors of the terms by least squares; zeros where they are not determined."""
    try:
        first, second, third = np.linalg.solve(terms @ terms.T, terms @ seen)
    except np.linalg.LinAlgError:
        return 0.0, 0.0, 0.0
    return float(first), float(second), float(third)


def _errors(terms: Floats, variance: Floats) -> Floats:
    """Standard deviations of the factors that :func:`_solve` finds."""
    inverse = np.linalg.pinv(terms @ terms.T)
    covariance = inverse @ ((terms * variance) @ terms.T) @ inverse
    deviations: Floats = np.sqrt(np.maximum(np.diag(covariance), 0.0))
    return deviations

"""Point sources on a stamp: where they are and how bright, by least squares with the PSF.

Sources that share light are fitted together. Pixels have equal weights: a variance plane that
holds the sources' own photon noise would pull weighted fluxes down. Errors are those of the
estimate under the variance of each pixel (the sandwich of the normal equations).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from app.pixels.dia_equations import fit_sources, light_of, packed
from app.pixels.dia_images import Stamp
from app.pixels.psf_field import Profile

Floats = NDArray[np.float64]

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
    places = np.ascontiguousarray(starts, dtype=np.float64)
    table = fit_sources(stamp.pixels, packed(profiles), places, reach_px, own_px, scatter)
    return [PsfFit(*(*row[:7], int(row[7]), bool(row[8]))) for row in table.tolist()]


def forced_psfs(
    stamp: Stamp, profiles: Sequence[Profile], places: Floats, *, own_px: int, scatter: float
) -> list[PsfFit]:
    """Fluxes of point sources at ``places`` (n, 2), whose own errors stay NaN."""
    return fit_psfs(stamp, profiles, places, reach_px=0.0, own_px=own_px, scatter=scatter)


def forced_psf(stamp: Stamp, profile: Profile, x: float, y: float, scatter: float) -> PsfFit:
    """The flux of one point source, alone on its stamp."""
    places = np.array([[x, y]])
    return forced_psfs(stamp, [profile], places, own_px=stamp.half_px, scatter=scatter)[0]


def light_on(stamp: Stamp, fits: Sequence[PsfFit], profiles: Sequence[Profile]) -> Floats:
    """What each source has on the pixels of a stamp (n, side, side); nothing where it was not
    measured."""
    places = np.array([(fit.x, fit.y) for fit in fits])
    fluxes = np.array([fit.flux for fit in fits])
    light: Floats = light_of(stamp.pixels, packed(profiles), places, fluxes)
    return light

"""Which sources of an image are stars fit to show its point spread function.

Bright peaks are measured by adaptive moments. Stars share one size and one shape: of all peaks the
densest group of sizes is kept. Galaxies scatter above it, cosmic rays and hot pixels below; what is
elongated otherwise than the rest, saturated, near bad pixels or has a neighbour is left out.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from app.pixels.background import FIT_REJECT, Background
from app.pixels.bands import over_rows
from app.pixels.box_peaks import find_box_peaks
from app.pixels.image import MaskedImage
from app.pixels.kernels import FWHM_TO_SIGMA
from app.pixels.peaks import Peaks
from app.pixels.psf_moments import adaptive_moments

Floats = NDArray[np.float64]

SIGNIFICANCES: Final = (40.0, 15.0)
"""Stars of at least the first are used; if there are fewer than FEW, of at least the second."""
FEW: Final = 5
MOST_CANDIDATES: Final = 500
MOST_STARS: Final = 100
BOX_SIGNIFICANCE: Final = 7.0
"""A peak's 3 x 3 pixels together; a star of the least significance has more at any seeing."""
PEAK_REACH_PX: Final = 3
FIRST_SIGMA_PX: Final = 1.5
FIRST_LOOK: Final = 32
SAME_SIZE: Final = 0.12
SAME_SHAPE: Final = 0.15
"""How far ln(size) and ellipticity of stars may lie from what most of them have."""
NARROWEST_SIGMA_PX: Final = 0.42
NEIGHBOUR_FWHM: Final = 2.5
NEIGHBOUR_SHARE: Final = 0.02


@dataclass(frozen=True, slots=True)
class Stars:
    """Centres (px), moments (px²) and Gaussian-matched flux of stars, brightest first."""

    x: Floats
    y: Floats
    ixx: Floats
    iyy: Floats
    ixy: Floats
    flux: Floats

    def __len__(self) -> int:
        return len(self.x)

    @property
    def sigma_px(self) -> Floats:
        """Determinant radius."""
        sigma: Floats = (self.ixx * self.iyy - self.ixy**2) ** 0.25
        return sigma

    def chosen(self, which: NDArray[np.bool_] | NDArray[np.intp]) -> Stars:
        """Some of the stars, by mask or number."""
        return Stars(*(getattr(self, each.name)[which] for each in fields(self)))


def find_stars(
    image: MaskedImage, background: Background, good: NDArray[np.bool_] | None = None
) -> Stars:
    """Unsaturated stars far from bad pixels and neighbours, at most MOST_STARS.

    ``good``: the pixels to look at (those usable without FIT_REJECT unless given).
    """
    good = image.usable(FIT_REJECT) if good is None else good
    clean = np.empty_like(background.level)
    over_rows(
        lambda start, stop: _clean_rows(start, stop, image.flux, background.level, good, clean),
        len(clean),
    )
    peaks = find_box_peaks(
        clean, image.variance, background.noise**2, BOX_SIGNIFICANCE, PEAK_REACH_PX
    )
    measured = _measured(clean, peaks)
    significance = measured.flux / (background.noise * np.sqrt(4.0 * np.pi) * measured.sigma_px)
    stars = measured.chosen(np.zeros(len(measured), dtype=np.bool_))
    for least in SIGNIFICANCES:
        stars = _lonely(_alike(measured.chosen(significance > least)), clean, peaks)
        stars = stars.chosen(np.arange(min(MOST_STARS, len(stars))))
        if len(stars) >= FEW:
            break
    return stars


@njit(cache=True, nogil=True)
def _clean_rows(
    start: int,
    stop: int,
    flux: NDArray[np.float32],
    level: NDArray[np.float32],
    good: NDArray[np.bool_],
    clean: NDArray[np.float32],
) -> None:
    """Flux above the sky, NaN where it is not good."""
    nothing = np.float32(np.nan)
    for y in range(start, stop):
        for x in range(flux.shape[1]):
            clean[y, x] = flux[y, x] - level[y, x] if good[y, x] else nothing


def _measured(clean: NDArray[np.float32], peaks: Peaks) -> Stars:
    """Moments of the highest peaks, begun with what the first have; those without are left out."""
    x, y = peaks.x[:MOST_CANDIDATES], peaks.y[:MOST_CANDIDATES]
    table = np.empty((len(x), 6))
    first = min(FIRST_LOOK, len(x))
    _measure(0, first, clean, x, y, FIRST_SIGMA_PX, table)
    looked = Stars(*table[:first][np.isfinite(table[:first]).all(axis=1)].T)
    sigma = float(np.median(looked.sigma_px)) if len(looked) else FIRST_SIGMA_PX

    def each(start: int, stop: int) -> None:
        _measure(first + start, first + stop, clean, x, y, sigma, table)

    over_rows(each, len(x) - first)
    return Stars(*table[np.isfinite(table).all(axis=1)].T)


@njit(cache=True, nogil=True)
def _measure(
    start: int,
    stop: int,
    clean: NDArray[np.float32],
    x: NDArray[np.int64],
    y: NDArray[np.int64],
    sigma_px: float,
    table: Floats,
) -> None:
    for k in range(start, stop):
        table[k] = adaptive_moments(clean, float(x[k]), float(y[k]), sigma_px, 3.0, 1e-3)


def _alike(stars: Stars) -> Stars:
    """The stars of the densest group of log sizes that also share its shape."""
    stars = stars.chosen(stars.sigma_px > NARROWEST_SIGMA_PX)
    if len(stars) == 0:
        return stars
    size = np.log(stars.sigma_px)
    neighbours = np.abs(size[:, None] - size[None, :]) < 0.5 * SAME_SIZE
    group = neighbours[np.argmax(neighbours.sum(axis=1))]
    same = np.abs(size - np.median(size[group])) < SAME_SIZE
    trace = stars.ixx + stars.iyy
    for shape in ((stars.ixx - stars.iyy) / trace, 2.0 * stars.ixy / trace):
        same &= np.abs(shape - np.median(shape[group])) < SAME_SHAPE
    return stars.chosen(same)


def _lonely(stars: Stars, clean: NDArray[np.float32], peaks: Peaks) -> Stars:
    """The stars without a neighbour that matters; all of them when FEW would not be left."""
    if len(stars) == 0:
        return stars
    sigma = stars.sigma_px
    near = NEIGHBOUR_FWHM * float(np.median(sigma)) / FWHM_TO_SIGMA
    peak = stars.flux / (2.0 * np.pi * sigma**2)
    apart2 = (stars.x[:, None] - peaks.x) ** 2 + (stars.y[:, None] - peaks.y) ** 2
    rival = (apart2 < near**2) & (apart2 > PEAK_REACH_PX**2)
    rival &= clean[peaks.y, peaks.x] > NEIGHBOUR_SHARE * peak[:, None]
    lonely: NDArray[np.bool_] = ~np.any(rival, axis=1)
    return stars.chosen(lonely) if lonely.sum() >= FEW else stars

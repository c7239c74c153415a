"""Dipoles: a source that stands at one place on the science image and at another on the template.

As Rubin's DipoleFitTask (ip_diffim): two PSFs, one of each sign, are fitted at the same time to the
difference and, with half the weight, to the two images before the subtraction, which tell a faint
pair far apart from a bright one close together. Both of these have a sloping sky in common.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, hypot, sqrt
from typing import Final

import numpy as np
from numpy.typing import NDArray

from app.pixels.dia_footprints import Peak
from app.pixels.dia_images import DiaImages, Layer, Stamp, cut_stamp
from app.pixels.dia_psf_fit import forced_psf

Floats = NDArray[np.float64]

MOST_SEPARATION_SIGMA: Final = 5.0
MOST_AREA_PX: Final = 1200
PRESUBTRACTION_WEIGHT: Final = 0.5
LEAST_SNR: Final = 5.0 * sqrt(2.0)
LARGEST_SHARE: Final = 0.65
"""Neither lobe of a dipole has more than this part of the flux of both."""

MOST_ROUNDS: Final = 25
TOLERANCE_PX: Final = 3e-3
LARGEST_STEP_PX: Final = 0.5
WORST_CONDITION: Final = 1e10


@dataclass(frozen=True, slots=True)
class Lobe:
    """Place (0-based pixels) and flux of one PSF; ``flux`` is what the source has, so positive."""

    x: float
    y: float
    flux: float
    flux_err: float


@dataclass(frozen=True, slots=True)
class Dipole:
    """``positive`` is where the source stands on the science image, ``negative`` on the template.

    ``chi2`` is that of the ``n_pixels`` of the difference that were used.
    """

    positive: Lobe
    negative: Lobe
    chi2: float
    n_pixels: int

    @property
    def snr(self) -> float:
        """Of both lobes together."""
        return hypot(*(lobe.flux / lobe.flux_err for lobe in (self.positive, self.negative)))

    @property
    def mean_flux(self) -> float:
        """Of both lobes."""
        return 0.5 * (self.positive.flux + self.negative.flux)

    @property
    def flux_difference(self) -> float:
        """What the positive lobe has more than the negative one."""
        return self.positive.flux - self.negative.flux

    @property
    def centre(self) -> tuple[float, float]:
        """x and y in the middle between the lobes."""
        one, other = self.positive, self.negative
        return 0.5 * (one.x + other.x), 0.5 * (one.y + other.y)

    @property
    def length_px(self) -> float:
        """From lobe to lobe."""
        return hypot(self.positive.x - self.negative.x, self.positive.y - self.negative.y)

    @property
    def is_one(self) -> bool:
        """Whether two lobes stand out together and are about as bright as each other."""
        fluxes = (self.positive.flux, self.negative.flux)
        return (
            min(fluxes) > 0.0 and self.snr > LEAST_SNR and max(fluxes) < LARGEST_SHARE * sum(fluxes)
        )


def may_be_dipole(layer: Layer, area: int, one: Peak, other: Peak) -> bool:
    """Whether two peaks of one footprint are near enough, and the footprint small enough."""
    apart = hypot(one.x - other.x, one.y - other.y)
    return area <= MOST_AREA_PX and apart <= MOST_SEPARATION_SIGMA * layer.sigma_px


def fit_dipole(images: DiaImages, positive: Peak, negative: Peak, scatter: float) -> Dipole | None:
    """The dipole that begins at two peaks; None where no fit settles near them.

    ``scatter`` is a factor on all errors.
    """
    fit = _Fit(images, positive, negative)
    places = np.array([positive.x, positive.y, negative.x, negative.y], dtype=np.float64)
    first = places.copy()
    fluxes = np.zeros(2)
    for _ in range(MOST_ROUNDS):
        moved = fit.step(places)
        if moved is None:
            return None
        fluxes, step = moved
        places = places + step
        if np.abs(places - first).max() > images.difference.fwhm_px:
            return None
        if np.abs(step).max() < TOLERANCE_PX:
            break
    else:
        return None
    return fit.dipole(places, fluxes, scatter)


class _Fit:
    """The stamps of one fit and the equations at any places of the lobes."""

    def __init__(self, images: DiaImages, positive: Peak, negative: Peak) -> None:
        x, y = round(0.5 * (positive.x + negative.x)), round(0.5 * (positive.y + negative.y))
        apart = hypot(positive.x - negative.x, positive.y - negative.y)
        half = images.difference.half_px + ceil(0.5 * apart)
        layers = (images.difference, images.science, images.template)
        weights = (1.0, PRESUBTRACTION_WEIGHT, PRESUBTRACTION_WEIGHT)
        self._difference = images.difference
        self._stamps = [cut_stamp(layer, x, y, half) for layer in layers]
        lobes = [
            (images.difference.profile(peak.x, peak.y), *images.beneath(peak.x, peak.y))
            for peak in (positive, negative)
        ]
        self._profiles = list(zip(*lobes, strict=True))
        self._good = np.logical_and.reduce([stamp.good for stamp in self._stamps])
        self._weights = [
            np.sqrt(weight / stamp.variance[self._good])
            for weight, stamp in zip(weights, self._stamps, strict=True)
        ]
        seen = [stamp.flux[self._good] for stamp in self._stamps]
        self._sky = self._sky_rows()
        self._seen = np.concatenate([w * s for w, s in zip(self._weights, seen, strict=True)])

    def step(self, places: Floats) -> tuple[Floats, Floats] | None:
        """Fluxes of the lobes and how far their places are to move (Gauss-Newton); None when the
        pixels do not determine them."""
        profiles, slopes = self._lobes(places)
        linear = [*self._rows(profiles), *self._sky]
        known = _least_squares(linear, self._seen)
        if known is None:
            return None
        moving = [known[n // 2] * row for n, row in enumerate(self._rows(slopes))]
        found = _least_squares([*linear, *moving], self._seen)
        if found is None:
            return None
        return known[:2], np.clip(found[-4:], -LARGEST_STEP_PX, LARGEST_STEP_PX)

    def dipole(self, places: Floats, fluxes: Floats, scatter: float) -> Dipole:
        """The result at the places where the fit ended."""
        stamp = self._stamps[0]
        lobes = []
        chi = stamp.flux.copy()
        for n, sign in enumerate((1.0, -1.0)):
            x, y = float(places[2 * n]), float(places[2 * n + 1])
            profile = self._profiles[0][n]
            error = forced_psf(stamp, profile, x, y, scatter).flux_err
            lobes.append(Lobe(x, y, float(fluxes[n]), error))
            chi -= sign * fluxes[n] * stamp.psf(profile, x, y)[0]
        good = stamp.good
        chi2 = float((chi[good] ** 2 / stamp.variance[good]).sum()) / scatter**2
        return Dipole(lobes[0], lobes[1], chi2, int(np.count_nonzero(good)))

    def _lobes(self, places: Floats) -> tuple[list[list[Floats]], list[list[Floats]]]:
        """Of each layer the PSFs of both lobes, and their derivatives by the four places."""
        values, slopes = [], []
        for stamp, profiles in zip(self._stamps, self._profiles, strict=True):
            lobes = [
                stamp.psf(profile, x, y)
                for profile, (x, y) in zip(profiles, places.reshape(2, 2), strict=True)
            ]
            values.append([lobe[0] for lobe in lobes])
            slopes.append([slope for lobe in lobes for slope in lobe[1:]])
        return values, slopes

    def _rows(self, planes: Sequence[Sequence[Floats]]) -> list[Floats]:
        """Weighed columns of what multiplies a flux: positive lobes are on difference and science,
        negative ones, with the sign turned on the difference, on the template."""
        half = len(planes[0]) // 2
        rows = []
        for n in range(len(planes[0])):
            factors = (1.0, 1.0, 0.0) if n < half else (-1.0, 0.0, 1.0)
            rows.append(
                self._weighed([f * layer[n] for f, layer in zip(factors, planes, strict=True)])
            )
        return rows

    def _sky_rows(self) -> list[Floats]:
        """A plane under science and template."""
        stamp: Stamp = self._stamps[0]
        dx, dy = stamp.offsets(stamp.x, stamp.y)
        flat = np.ones_like(dx)
        return [
            self._weighed([np.zeros_like(dx), term, term])
            for term in (flat, dx / stamp.half_px, dy / stamp.half_px)
        ]

    def _weighed(self, planes: Sequence[Floats]) -> Floats:
        return np.concatenate(
            [w * plane[self._good] for w, plane in zip(self._weights, planes, strict=True)]
        )


def _least_squares(rows: Sequence[Floats], seen: Floats) -> Floats | None:
    """Factors of the rows by normal equations; None where they are not determined."""
    design = np.stack(rows)
    size = np.sqrt((design**2).sum(axis=1))
    if design.shape[1] <= len(design) or not size.all():
        return None
    design /= size[:, None]
    matrix = design @ design.T
    if not np.linalg.cond(matrix) < WORST_CONDITION:
        return None
    factors: Floats = np.linalg.solve(matrix, design @ seen) / size
    return factors

"""What is in the sky: stars of constant light, galaxies, a variable star, a moving object."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tests.truth.settings import NANOJANSKY_MAG, TruthSettings

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Sources:
    """Rows are sources; directions ICRS in degrees, ``flux_njy`` in nanojansky (mean if variable).

    ``half_light_arcsec``, ``sersic``, ``g1``, ``g2`` are of galaxies (0 for stars).
    ``variable`` and ``moving`` are row numbers or None; the moving one is at its place at the
    middle of the series.
    """

    lon_deg: Floats
    lat_deg: Floats
    flux_njy: Floats
    half_light_arcsec: Floats
    sersic: Floats
    g1: Floats
    g2: Floats
    variable: int | None
    moving: int | None

    @property
    def is_star(self) -> NDArray[np.bool_]:
        """Point sources that neither vary nor move."""
        star = self.half_light_arcsec == 0.0
        star[[n for n in (self.variable, self.moving) if n is not None]] = False
        return star

    def isolated(self, radius_arcsec: float, flux_share: float = 0.01) -> NDArray[np.bool_]:
        """Sources without a neighbour in ``radius_arcsec`` of more than a share of their flux."""
        east = (self.lon_deg - self.lon_deg[0]) * np.cos(np.radians(self.lat_deg[0])) * 3600.0
        north = self.lat_deg * 3600.0
        apart = np.hypot(east[:, None] - east[None, :], north[:, None] - north[None, :])
        rival = (apart < radius_arcsec) & (
            self.flux_njy[None, :] > flux_share * self.flux_njy[:, None]
        )
        np.fill_diagonal(rival, False)
        return ~rival.any(axis=1)


def make_sources(settings: TruthSettings) -> Sources:
    """The field of a seed. Stars keep their distance from each other, galaxies from nothing."""
    rng = np.random.default_rng([settings.seed, 1])
    reach = 0.5 * settings.size_px * settings.scale_arcsec + settings.dither_arcsec + 8.0
    points = settings.saturated_stars + settings.stars + 2
    total = points + settings.galaxies
    east, north = np.empty((2, total))
    middle = 0.3 * settings.size_px * settings.scale_arcsec
    for n in range(total):
        within = middle if n < settings.saturated_stars else reach
        east[n], north[n] = rng.uniform(-within, within, 2)
        while n < points and _crowded(east[: n + 1], north[: n + 1], settings):
            east[n], north[n] = rng.uniform(-within, within, 2)
    extended = np.arange(total) >= points
    mag = np.where(extended, rng.uniform(18.5, 23.0, total), _star_mag(settings, rng, total))
    mag[: settings.saturated_stars] = 14.5
    flux = 10.0 ** (-0.4 * (mag - NANOJANSKY_MAG))
    variable, moving = points - 2, points - 1
    for n, wanted in ((variable, settings.variable_star), (moving, settings.moving_object)):
        flux[n] = 10.0 ** (-0.4 * (19.5 - NANOJANSKY_MAG)) * wanted
        east[n], north[n] = rng.uniform(-middle, middle, 2)
    shear = np.abs(rng.normal(0.0, 0.25, total)).clip(0, 0.6) * extended
    turn = rng.uniform(0, np.pi, total)
    lat = settings.centre_deg[1] + north / 3600.0
    return Sources(
        settings.centre_deg[0] + east / 3600.0 / np.cos(np.radians(lat)),
        lat,
        flux,
        rng.uniform(0.25, 0.8, total) * extended,
        np.where(rng.uniform(size=total) < 0.6, 1.0, 2.5) * extended,
        shear * np.cos(2 * turn),
        shear * np.sin(2 * turn),
        variable if settings.variable_star else None,
        moving if settings.moving_object else None,
    )


def _star_mag(settings: TruthSettings, rng: np.random.Generator, count: int) -> Floats:
    """Magnitudes with log N ~ 0.24 m, as star counts rise at high latitude."""
    bright, faint = (10.0 ** (0.24 * mag) for mag in settings.star_mag)
    mags: Floats = np.log10(rng.uniform(bright, faint, count)) / 0.24
    return mags


def _crowded(east: Floats, north: Floats, settings: TruthSettings) -> bool:
    apart = np.hypot(east[:-1] - east[-1], north[:-1] - north[-1])
    return bool((apart < settings.least_separation_arcsec).any())

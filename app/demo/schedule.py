"""When, where and under which sky each visit is taken."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from app.demo.settings import Band, SurveySettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """One exposure of the whole camera. ``mjd`` is the start of the exposure, UTC.

    ``seeing_arcsec`` is the width (FWHM) the atmosphere gives, before pixels; ``zero_point_mag``
    the AB magnitude of one electron under this transparency; ``sky_e`` the sky in a pixel.
    """

    visit: int
    band: str
    mjd: float
    exposure_s: float
    lon_deg: float
    lat_deg: float
    rotation_deg: float
    seeing_arcsec: float
    ellipticity: tuple[float, float]
    zero_point_mag: float
    sky_e: float
    airmass: float


def plan_visits(
    settings: SurveySettings, centre: tuple[float, float], seed: int
) -> tuple[Visit, ...]:
    """All visits in order of time; the same seed gives the same plan."""
    rng = np.random.default_rng([seed, 1])
    visits: list[Visit] = []
    for night_mjd in _nights(settings, rng):
        for step, band in enumerate(settings.bands):
            mjd = night_mjd + step * (settings.exposure_s + 12.0) / 86400
            visits.append(_take_visit(1001 + len(visits), band, mjd, settings, centre, rng))
    return tuple(visits)


def _nights(settings: SurveySettings, rng: np.random.Generator) -> list[float]:
    """Start times (MJD), spread over two seasons, within the night at the observatory."""
    nights: list[float] = []
    for start_mjd, count in (
        (settings.season_start_mjd, settings.quiet_epochs),
        (settings.active_start_mjd, settings.active_epochs),
    ):
        step_d = settings.season_length_d / max(count, 1)
        nights += [
            math.floor(start_mjd + k * step_d) + float(rng.uniform(0.08, 0.32))
            for k in range(count)
        ]
    return nights


def _take_visit(
    number: int,
    band: Band,
    mjd: float,
    settings: SurveySettings,
    centre: tuple[float, float],
    rng: np.random.Generator,
) -> Visit:
    radius_deg = settings.dither_arcsec / 3600 * math.sqrt(rng.uniform())
    angle = rng.uniform(0, 2 * math.pi)
    lat_deg = centre[1] + radius_deg * math.sin(angle)
    lon_deg = centre[0] + radius_deg * math.cos(angle) / math.cos(math.radians(centre[1]))
    extinction_mag = float(rng.beta(1.0, 4.0)) * 0.6
    sky_mag = band.sky_mag_arcsec2 - float(rng.uniform(0.0, 0.5))
    pixel_arcsec2 = settings.camera.pixel_scale_arcsec**2
    return Visit(
        visit=number,
        band=band.name,
        mjd=mjd,
        exposure_s=settings.exposure_s,
        lon_deg=lon_deg % 360,
        lat_deg=lat_deg,
        rotation_deg=float(rng.uniform(0, 360)),
        seeing_arcsec=float(0.7 + 0.7 * rng.beta(1.6, 2.2)),
        ellipticity=(float(rng.normal(0, 0.015)), float(rng.normal(0, 0.015))),
        zero_point_mag=band.zero_point_mag - extinction_mag,
        sky_e=10 ** (-0.4 * (sky_mag - band.zero_point_mag)) * pixel_arcsec2,
        airmass=float(rng.uniform(1.0, 1.7)),
    )

"""The simulated sky: stars, galaxies, transients and variables, drawn from a seed."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.demo.lightcurves import Transient, Variable
from app.demo.settings import SurveySettings

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stars:
    """Constant stars: ICRS positions (deg) and AB magnitudes, ``mag`` of shape (n, bands)."""

    lon_deg: Floats
    lat_deg: Floats
    mag: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Galaxies:
    """Sersic galaxies: as :class:`Stars`, with half-light radius (arcsec), index and shear."""

    lon_deg: Floats
    lat_deg: Floats
    mag: Floats
    half_light_arcsec: Floats
    sersic_index: Floats
    g1: Floats
    g2: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Universe:
    """Everything that shines. ``bands`` names the columns of ``mag``."""

    bands: tuple[str, ...]
    stars: Stars
    galaxies: Galaxies
    transients: tuple[Transient, ...]
    variables: tuple[Variable, ...]


def make_universe(settings: SurveySettings, centre: tuple[float, float], seed: int) -> Universe:
    """The sky around ``centre`` (lon, lat in deg); the same seed gives the same sky."""
    rng = np.random.default_rng([seed, 2])
    bands = tuple(b.name for b in settings.bands)
    area_arcmin2 = (2 * settings.radius_deg * 60) ** 2
    stars = _make_stars(int(settings.stars_per_arcmin2 * area_arcmin2), settings, centre, rng)
    galaxies = _make_galaxies(
        int(settings.galaxies_per_arcmin2 * area_arcmin2), settings, centre, rng
    )
    return Universe(
        bands=bands,
        stars=stars,
        galaxies=galaxies,
        transients=_make_transients(settings, galaxies, centre, rng),
        variables=_make_variables(settings, centre, rng),
    )


def _scatter(
    count: int, half_side_deg: float, centre: tuple[float, float], rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Positions spread evenly over a small square around the centre (deg)."""
    lat_deg = centre[1] + rng.uniform(-half_side_deg, half_side_deg, count)
    east_deg = rng.uniform(-half_side_deg, half_side_deg, count)
    return (centre[0] + east_deg / np.cos(np.radians(lat_deg))) % 360, lat_deg


def _power_law(
    count: int, bright: float, faint: float, slope: float, rng: np.random.Generator
) -> Floats:
    """Magnitudes with counts rising as ``10**(slope * mag)`` between two limits."""
    low, high = 10 ** (slope * bright), 10 ** (slope * faint)
    mags: Floats = np.log10(rng.uniform(low, high, count)) / slope
    return mags


def _colours(g_r: Floats, r_i: Floats, r: Floats, settings: SurveySettings) -> Floats:
    """Magnitudes (n, bands) of the survey's bands from r and two colours."""
    by_band = {"g": r + g_r, "r": r, "i": r - r_i}
    return np.column_stack([by_band[b.name] for b in settings.bands])


def _stellar_colours(count: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """(g-r, r-i) on the stellar locus: turn-off stars, then M dwarfs that redden in r-i only."""
    dwarf = rng.uniform(size=count) < 0.45
    g_r = np.where(dwarf, rng.normal(1.4, 0.06, count), rng.normal(0.5, 0.14, count))
    r_i = np.where(dwarf, rng.uniform(0.6, 1.6, count), 0.42 * g_r - 0.04)
    return g_r, r_i + rng.normal(0, 0.02, count)


def _make_stars(
    count: int, settings: SurveySettings, centre: tuple[float, float], rng: np.random.Generator
) -> Stars:
    lon_deg, lat_deg = _scatter(count, settings.radius_deg, centre, rng)
    r = _power_law(count, 15.6, 24.0, 0.12, rng)
    g_r, r_i = _stellar_colours(count, rng)
    return Stars(lon_deg=lon_deg, lat_deg=lat_deg, mag=_colours(g_r, r_i, r, settings))


def _make_galaxies(
    count: int, settings: SurveySettings, centre: tuple[float, float], rng: np.random.Generator
) -> Galaxies:
    lon_deg, lat_deg = _scatter(count, settings.radius_deg, centre, rng)
    r = _power_law(count, 18.0, 24.4, 0.28, rng)
    early = rng.uniform(size=count) < 0.3
    g_r = np.where(early, rng.normal(0.95, 0.12, count), rng.normal(0.55, 0.2, count))
    r_i = 0.45 * g_r + rng.normal(0, 0.05, count)
    size_arcsec = 0.5 * 10 ** (-0.08 * (r - 22.5)) * rng.lognormal(0, 0.25, count)
    shear = np.minimum(np.abs(rng.normal(0, 0.22, count)), 0.6)
    angle = rng.uniform(0, 2 * np.pi, count)
    return Galaxies(
        lon_deg=lon_deg,
        lat_deg=lat_deg,
        mag=_colours(g_r, r_i, r, settings),
        half_light_arcsec=np.clip(size_arcsec, 0.15, 2.5),
        sersic_index=np.where(early, 4.0, 1.0),
        g1=shear * np.cos(angle),
        g2=shear * np.sin(angle),
    )


def _make_transients(
    settings: SurveySettings,
    galaxies: Galaxies,
    centre: tuple[float, float],
    rng: np.random.Generator,
) -> tuple[Transient, ...]:
    """Events in bright, central galaxies, off the nucleus, in the season after the quiet one."""
    reach_deg = settings.radius_deg * 0.45
    east_deg = (galaxies.lon_deg - centre[0]) * math.cos(math.radians(centre[1]))
    central = np.hypot(east_deg, galaxies.lat_deg - centre[1]) < reach_deg
    brightness = galaxies.mag[:, min(1, len(settings.bands) - 1)]
    order = np.argsort(np.where(central, brightness, np.inf), kind="stable")
    hosts = rng.permutation(order[: 3 * settings.transients])[: settings.transients]
    return tuple(
        _make_transient(k, int(host), settings, galaxies, rng) for k, host in enumerate(hosts)
    )


def _make_transient(
    number: int,
    host: int,
    settings: SurveySettings,
    galaxies: Galaxies,
    rng: np.random.Generator,
) -> Transient:
    offset_arcsec = float(galaxies.half_light_arcsec[host] * rng.uniform(0.6, 1.6)) + 0.3
    angle = rng.uniform(0, 2 * math.pi)
    lat_deg = float(galaxies.lat_deg[host]) + offset_arcsec * math.sin(angle) / 3600
    east_deg = offset_arcsec * math.cos(angle) / 3600
    peak_r = float(rng.uniform(19.0, 21.2))
    start_mjd = settings.active_start_mjd + settings.season_length_d * rng.uniform(0.15, 0.5)
    fall_d, colour = {"g": 14.0, "r": 22.0, "i": 27.0}, {"g": 0.1, "r": 0.0, "i": 0.15}
    stretch = float(rng.uniform(0.8, 1.3))
    names = [b.name for b in settings.bands]
    return Transient(
        name=f"SIM26{chr(ord('a') + number)}",
        lon_deg=float(galaxies.lon_deg[host]) + east_deg / math.cos(math.radians(lat_deg)),
        lat_deg=lat_deg,
        host=host,
        host_offset_arcsec=offset_arcsec,
        t0_mjd=float(start_mjd),
        rise_d=float(rng.uniform(2.5, 4.5)),
        fall_d=tuple((n, fall_d[n] * stretch) for n in names),
        peak_mag=tuple((n, peak_r + colour[n]) for n in names),
    )


def _make_variables(
    settings: SurveySettings, centre: tuple[float, float], rng: np.random.Generator
) -> tuple[Variable, ...]:
    lon_deg, lat_deg = _scatter(settings.variables, settings.radius_deg * 0.45, centre, rng)
    return tuple(
        _make_variable(k, float(lon_deg[k]), float(lat_deg[k]), settings, rng)
        for k in range(settings.variables)
    )


def _make_variable(
    number: int, lon_deg: float, lat_deg: float, settings: SurveySettings, rng: np.random.Generator
) -> Variable:
    r, amplitude = float(rng.uniform(18.0, 21.0)), float(rng.uniform(0.2, 0.5))
    mean, factor = {"g": r + 0.25, "r": r, "i": r - 0.08}, {"g": 1.3, "r": 1.0, "i": 0.8}
    names = [b.name for b in settings.bands]
    pulsating = number % 2 == 0
    return Variable(
        name=f"SIMV{number + 1}",
        lon_deg=lon_deg,
        lat_deg=lat_deg,
        period_d=float(rng.uniform(0.4, 0.8) if pulsating else rng.uniform(3, 20)),
        epoch_mjd=settings.season_start_mjd + float(rng.uniform(0, 1)),
        harmonics=3 if pulsating else 1,
        mean_mag=tuple((n, mean[n]) for n in names),
        amplitude_mag=tuple((n, factor[n] * amplitude) for n in names),
    )

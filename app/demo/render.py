"""Light on the detector: what an exposure would show without noise, drawn by GalSim."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from astropy.wcs import WCS
from numpy.typing import NDArray

from app.demo.lightcurves import Transient, Variable, flux_njy, mag_of
from app.demo.optics import local_jacobians, positions_near
from app.demo.schedule import Visit
from app.demo.universe import Universe

if TYPE_CHECKING:
    import galsim

MOFFAT_BETA: Final = 3.5
MARGIN_PX: Final = 60.0
"""Sources this far outside a detector still shine onto it."""
_LOWEST_SIGMA: Final = 0.02
"""A source is drawn out to where it falls below this share of the sky noise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Expected electrons per pixel from sources alone, (ny, nx), and the width of the PSF."""

    source_e: NDArray[np.float64]
    fwhm_arcsec: float
    """Full width at half maximum of the PSF with the pixel's own width in it."""


def render(universe: Universe, visit: Visit, wcs: WCS, shape: tuple[int, int]) -> Scene:
    """Draw every source of the universe that shines onto a detector during a visit."""
    import galsim

    psf = galsim.Moffat(beta=MOFFAT_BETA, fwhm=visit.seeing_arcsec).shear(
        e1=visit.ellipticity[0], e2=visit.ellipticity[1]
    )
    image = galsim.ImageD(shape[1], shape[0], init_value=0.0)
    canvas = _Canvas(image=image, psf=psf, visit=visit, wcs=wcs, shape=shape)
    band = universe.bands.index(visit.band)
    _draw_points(canvas, *_points(universe, visit, band))
    _draw_galaxies(canvas, universe, band)
    scale_arcsec = 3600 * math.sqrt(abs(float(np.linalg.det(wcs.pixel_scale_matrix))))
    seen = galsim.Convolve(psf, galsim.Pixel(scale_arcsec))
    return Scene(source_e=np.array(image.array), fwhm_arcsec=float(seen.calculateFWHM()))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Canvas:
    """The image being drawn and what drawing needs to know."""

    image: galsim.ImageD
    psf: Any
    visit: Visit
    wcs: WCS
    shape: tuple[int, int]

    def electrons(self, mag: float) -> float:
        """Electrons that a source of a magnitude gives in this visit."""
        return float(10.0 ** (-0.4 * (mag - self.visit.zero_point_mag)))

    def place(self, lon_deg: NDArray[np.float64], lat_deg: NDArray[np.float64]) -> list[_Place]:
        """Where sources fall: their number, pixel position (0-based) and local WCS."""
        numbers, x, y = positions_near(self.wcs, self.shape, lon_deg, lat_deg, MARGIN_PX)
        jacobians = local_jacobians(self.wcs, x, y) if numbers.size else np.empty((0, 2, 2))
        return [
            _Place(int(n), float(px), float(py), j)
            for n, px, py, j in zip(numbers, x, y, jacobians, strict=True)
        ]

    def add(self, profile: Any, place: _Place, radius_px: int) -> None:
        """Draw a profile onto the part of the image within ``radius_px`` of its place."""
        import galsim

        cx, cy = round(place.x) + 1, round(place.y) + 1
        bounds = galsim.BoundsI(cx - radius_px, cx + radius_px, cy - radius_px, cy + radius_px)
        overlap = bounds & self.image.bounds
        if not overlap.isDefined():
            return
        stamp = galsim.ImageD(bounds)
        profile.drawImage(
            image=stamp,
            wcs=galsim.JacobianWCS(*place.jacobian.ravel()),
            center=galsim.PositionD(place.x + 1, place.y + 1),
        )
        self.image[overlap] += stamp[overlap]

    def radius_px(self, flux_e: float, core_px: float, slope: float) -> int:
        """How far out a source is drawn: to where a power law from its core meets the limit."""
        limit_e = _LOWEST_SIGMA * math.sqrt(self.visit.sky_e)
        peak_e = flux_e / (math.pi * core_px**2)
        reach = core_px * (max(peak_e / limit_e, 1.0)) ** (1 / slope)
        return int(min(max(reach, 4 * core_px, 8), 200)) + 1

    @property
    def seeing_px(self) -> float:
        """Seeing in pixels."""
        scale_arcsec = 3600 * math.sqrt(abs(float(np.linalg.det(self.wcs.pixel_scale_matrix))))
        return self.visit.seeing_arcsec / scale_arcsec


@dataclass(frozen=True, slots=True)
class _Place:
    number: int
    x: float
    y: float
    jacobian: NDArray[np.float64]


def _points(
    universe: Universe, visit: Visit, band: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Longitudes, latitudes (deg) and magnitudes of all point sources at the visit's time."""
    moving: tuple[Transient | Variable, ...] = (*universe.transients, *universe.variables)
    mid_mjd = visit.mjd + visit.exposure_s / 2 / 86400
    mags = [mag_of(source.flux_njy(visit.band, mid_mjd)) for source in moving]
    return (
        np.concatenate([universe.stars.lon_deg, [s.lon_deg for s in moving]]),
        np.concatenate([universe.stars.lat_deg, [s.lat_deg for s in moving]]),
        np.concatenate([universe.stars.mag[:, band], mags]),
    )


def _draw_points(
    canvas: _Canvas,
    lon_deg: NDArray[np.float64],
    lat_deg: NDArray[np.float64],
    mag: NDArray[np.float64],
) -> None:
    for place in canvas.place(lon_deg, lat_deg):
        if flux_njy(mag[place.number]) <= 0:
            continue
        flux_e = canvas.electrons(float(mag[place.number]))
        radius_px = canvas.radius_px(flux_e, 0.6 * canvas.seeing_px, 2 * MOFFAT_BETA)
        canvas.add(canvas.psf.withFlux(flux_e), place, radius_px)


def _draw_galaxies(canvas: _Canvas, universe: Universe, band: int) -> None:
    import galsim

    galaxies = universe.galaxies
    for place in canvas.place(galaxies.lon_deg, galaxies.lat_deg):
        k = place.number
        half_light_arcsec = float(galaxies.half_light_arcsec[k])
        flux_e = canvas.electrons(float(galaxies.mag[k, band]))
        profile = galsim.Sersic(
            n=float(galaxies.sersic_index[k]),
            half_light_radius=half_light_arcsec,
            flux=flux_e,
            trunc=8 * half_light_arcsec,
        ).shear(g1=float(galaxies.g1[k]), g2=float(galaxies.g2[k]))
        half_light_px = half_light_arcsec * canvas.seeing_px / canvas.visit.seeing_arcsec
        core_px = math.hypot(0.6 * canvas.seeing_px, half_light_px)
        radius_px = min(canvas.radius_px(flux_e, core_px, 3.5), int(9 * core_px) + 2)
        canvas.add(galsim.Convolve(profile, canvas.psf), place, radius_px)

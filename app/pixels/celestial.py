"""Pixel ↔ ICRS for one 2-D celestial header: wcslib below, one rotation above.

The frame is read from RADESYS and EQUINOX as FITS WCS paper II, section 3.1 says: without RADESYS
an EQUINOX before 1984 means FK4, a later one FK5, none ICRS.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from threading import get_ident
from typing import Any

import numpy as np
from astropy import units as u
from astropy.coordinates import (
    FK4,
    FK5,
    ICRS,
    BarycentricMeanEcliptic,
    FK4NoETerms,
    Galactic,
    SkyCoord,
    Supergalactic,
)
from astropy.io.fits import Header
from astropy.time import Time
from astropy.wcs import WCS, NoConvergence
from numpy.typing import NDArray

from app.errors import ImageFormatError

Array = NDArray[np.float64]

SIP_REACH_PX = 1000
"""How far outside an image (px, or one image size if that is more) its SIP terms are inverted."""


@dataclass(frozen=True, slots=True, eq=False)
class CelestialTransform:
    """A WCS with its way to ICRS: ``rotation`` (3×3, frame to ICRS) or ``frame`` for FK4."""

    wcs: Any
    lon_axis: int
    rotation: Array | None
    frame: Any

    def pixel_to_icrs(self, x: Array, y: Array) -> tuple[Array, Array]:
        """0-based pixels to ICRS degrees; NaN where the projection has no sky."""
        world = self.wcs.all_pix2world(x.ravel(), y.ravel(), 0)
        lon, lat = world[self.lon_axis], world[1 - self.lon_axis]
        if self.frame is not None:
            sky = SkyCoord(lon * u.deg, lat * u.deg, frame=self.frame).icrs
            lon, lat = sky.ra.deg, sky.dec.deg
        elif self.rotation is not None:
            lon, lat = rotate(self.rotation, lon, lat)
        return np.mod(lon, 360.0).reshape(x.shape), np.asarray(lat).reshape(x.shape)

    def icrs_to_pixel(self, lon: Array, lat: Array, shape: tuple[int, int]) -> tuple[Array, Array]:
        """ICRS degrees to 0-based pixels; NaN where there is no solution."""
        finite = np.isfinite(lon) & np.isfinite(lat)
        x, y = np.full(lon.shape, np.nan), np.full(lon.shape, np.nan)
        if finite.any():
            x[finite], y[finite] = self._to_pixel(*self._from_icrs(lon[finite], lat[finite]), shape)
        return x, y

    def _from_icrs(self, lon: Array, lat: Array) -> tuple[Array, Array]:
        if self.frame is not None:
            native = SkyCoord(lon * u.deg, lat * u.deg, frame=ICRS()).transform_to(self.frame)
            return native.spherical.lon.deg, native.spherical.lat.deg
        if self.rotation is not None:
            return rotate(self.rotation.T, lon, lat)
        return lon, lat

    def _to_pixel(self, lon: Array, lat: Array, shape: tuple[int, int]) -> tuple[Array, Array]:
        """SIP is inverted only near the image: a polynomial says nothing far out, and its inverse
        may fold a distant direction back into the image."""
        world = (lon, lat) if self.lon_axis == 0 else (lat, lon)
        x, y = (np.array(v) for v in self.wcs.wcs_world2pix(*world, 0))
        if self.wcs.sip is None and self.wcs.cpdis1 is None and self.wcs.cpdis2 is None:
            return x, y
        ny, nx = shape
        margin = max(nx, ny, SIP_REACH_PX)
        near = (x > -margin) & (x < nx + margin) & (y > -margin) & (y < ny + margin)
        if near.any():
            x[near], y[near] = _invert(self.wcs, world[0][near], world[1][near])
        return x, y


def _invert(wcs: Any, first: Array, second: Array) -> tuple[Array, Array]:
    try:
        x, y = wcs.all_world2pix(
            first, second, 0, tolerance=1e-6, maxiter=50, detect_divergence=True
        )
    except NoConvergence as fault:
        solution = np.array(fault.best_solution)
        for lost in (fault.divergent, fault.slow_conv):
            if lost is not None:
                solution[lost] = np.nan
        x, y = solution.T
    return x, y


def rotate(matrix: Array, lon_deg: Array, lat_deg: Array) -> tuple[Array, Array]:
    """Directions (deg) turned by a 3×3 matrix; longitudes in (-180, 180]."""
    lon, lat = np.radians(lon_deg), np.radians(lat_deg)
    vector = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])
    x, y, z = np.tensordot(matrix, vector, axes=1)
    return np.degrees(np.arctan2(y, x)), np.degrees(np.arctan2(z, np.hypot(x, y)))


def build_wcs(header: Header, hdulist: Any = None) -> Any:
    """astropy's WCS of a header, repaired where wcslib knows how, without its warnings.

    Raises ImageFormatError with wcslib's reason.
    """
    try:
        wcs = WCS(header, fobj=hdulist, fix=False)
        wcs.wcs.fix()
        wcs.wcs.set()
    except Exception as fault:
        lines = [part.strip() for part in str(fault).splitlines() if part.strip()]
        reason = lines[-1] if lines else type(fault).__name__
        raise ImageFormatError("", f"broken WCS: {reason}") from fault
    return wcs


def make_transform(wcs: Any) -> CelestialTransform:
    """The transform of a 2-D WCS. Raises ImageFormatError without two celestial axes."""
    if wcs.naxis != 2 or wcs.wcs.lng < 0 or wcs.wcs.lat < 0:
        raise ImageFormatError("", "broken WCS: the two axes do not make a celestial pair")
    name, year = _frame(wcs.wcs.lngtyp.strip(), wcs.wcs.radesys.strip().upper(), wcs.wcs.equinox)
    if name == "ICRS":
        return CelestialTransform(wcs, wcs.wcs.lng, None, None)
    if name == "FK4":  # the E-terms of aberration are not a rotation
        return CelestialTransform(wcs, wcs.wcs.lng, None, _astropy_frame(name, year))
    return CelestialTransform(wcs, wcs.wcs.lng, _rotation(name, year), None)


@lru_cache(maxsize=128)
def _cached(header: str, thread: int) -> CelestialTransform:
    del thread  # a wcslib structure is changed by its own calls: one for each thread
    return make_transform(build_wcs(Header.fromstring(header, sep="\n")))


def transform_of(header: str) -> CelestialTransform:
    """The transform of header text (cards joined by newlines), made once for each thread."""
    return _cached(header, get_ident())


def _frame(lon_type: str, system: str, equinox: float) -> tuple[str, float]:
    """Name and equinox (year) of the frame that a header means."""
    year = 2000.0 if np.isnan(equinox) else float(equinox)
    if lon_type in {"GLON", "SLON", "ELON"}:
        return lon_type, year
    if system not in {"ICRS", "FK5", "FK4", "FK4-NO-E"}:
        system = _default_system(equinox)
    if system.startswith("FK4") and np.isnan(equinox):
        year = 1950.0
    return system, year


def _default_system(equinox: float) -> str:
    if np.isnan(equinox):
        return "ICRS"
    return "FK4" if equinox < 1984.0 else "FK5"


def _astropy_frame(name: str, year: float) -> Any:
    if name == "GLON":
        return Galactic()
    if name == "SLON":
        return Supergalactic()
    if name == "ELON":
        return BarycentricMeanEcliptic(equinox=Time(year, format="jyear"))
    if name == "FK5":
        return FK5(equinox=Time(year, format="jyear"))
    old = FK4 if name == "FK4" else FK4NoETerms
    return old(equinox=Time(year, format="byear"))


@lru_cache(maxsize=64)
def _rotation(name: str, year: float) -> Array:
    """Columns: the three axes of the frame as ICRS unit vectors."""
    frame = _astropy_frame(name, year)
    axes = SkyCoord([0.0, 90.0, 0.0] * u.deg, [0.0, 0.0, 90.0] * u.deg, frame=frame)
    matrix: Array = np.array(axes.icrs.cartesian.xyz.value)
    return matrix

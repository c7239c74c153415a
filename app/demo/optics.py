"""The camera's world coordinates: gnomonic, rotated, with a small radial distortion (SIP)."""

from __future__ import annotations

import math

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from numpy.typing import NDArray

from app.demo.schedule import Visit
from app.demo.settings import Camera

Floats = NDArray[np.float64]


def wcs_cards(visit: Visit, camera: Camera, detector: int) -> fits.Header:
    """FITS WCS cards of one detector in one visit: TAN-SIP (Shupe et al. 2005, ADASS XIV, 491).

    The reference point is the boresight, which lies outside every detector, so that the
    distortion is radial about the optical axis.
    """
    x, y = camera.origin_px(detector)
    scale_deg = camera.pixel_scale_arcsec / 3600
    cos, sin = (
        math.cos(math.radians(visit.rotation_deg)),
        math.sin(math.radians(visit.rotation_deg)),
    )
    cubic = camera.distortion / camera.corner_px**2
    header = fits.Header()
    header.extend(
        [
            ("WCSAXES", 2),
            ("CTYPE1", "RA---TAN-SIP"),
            ("CTYPE2", "DEC--TAN-SIP"),
            ("CUNIT1", "deg"),
            ("CUNIT2", "deg"),
            ("CRVAL1", visit.lon_deg),
            ("CRVAL2", visit.lat_deg),
            ("CRPIX1", 1.0 - x),
            ("CRPIX2", 1.0 - y),
            ("CD1_1", -scale_deg * cos),
            ("CD1_2", scale_deg * sin),
            ("CD2_1", scale_deg * sin),
            ("CD2_2", scale_deg * cos),
            ("RADESYS", "ICRS"),
            ("A_ORDER", 3),
            ("B_ORDER", 3),
            ("A_3_0", cubic),
            ("A_1_2", cubic),
            ("B_0_3", cubic),
            ("B_2_1", cubic),
        ]
    )
    return header


def local_jacobians(wcs: WCS, x: Floats, y: Floats) -> Floats:
    """d(sky)/d(pixel) at pixel positions (0-based), in arcsec, of shape (n, 2, 2).

    Rows are directions on the sky, west and north (GalSim's u and v), columns are x and y.
    """
    steps = np.array([(-0.5, 0.0), (0.5, 0.0), (0.0, -0.5), (0.0, 0.5)])
    lon, lat = zip(*(wcs.all_pix2world(x + dx, y + dy, 0) for dx, dy in steps), strict=True)
    cos_lat = np.cos(np.radians(np.mean(lat, axis=0)))
    west = -np.array([_wrap(lon[1] - lon[0]), _wrap(lon[3] - lon[2])]) * cos_lat * 3600
    north = np.array([lat[1] - lat[0], lat[3] - lat[2]]) * 3600
    return np.stack([west.T, north.T], axis=1)


def _wrap(angle_deg: Floats) -> Floats:
    """An angle in [-180, 180) degrees."""
    return (angle_deg + 180.0) % 360.0 - 180.0


def positions_near(
    wcs: WCS, shape: tuple[int, int], lon_deg: Floats, lat_deg: Floats, margin_px: float
) -> tuple[NDArray[np.intp], Floats, Floats]:
    """Which directions fall on a detector or within a margin: (numbers, x, y), 0-based pixels."""
    ny, nx = shape
    centre_lon, centre_lat = wcs.all_pix2world((nx - 1) / 2, (ny - 1) / 2, 0)
    scale_arcsec = 3600 * math.sqrt(abs(np.linalg.det(wcs.pixel_scale_matrix)))
    reach_deg = (math.hypot(nx, ny) / 2 + 1.5 * margin_px) * scale_arcsec / 3600
    east_deg = _wrap(lon_deg - float(centre_lon)) * math.cos(math.radians(float(centre_lat)))
    near = np.flatnonzero(np.hypot(east_deg, lat_deg - float(centre_lat)) < reach_deg)
    if near.size == 0:
        return near, np.empty(0), np.empty(0)
    x, y = wcs.all_world2pix(lon_deg[near], lat_deg[near], 0)
    inside = (
        (x > -0.5 - margin_px)
        & (x < nx - 0.5 + margin_px)
        & (y > -0.5 - margin_px)
        & (y < ny - 0.5 + margin_px)
    )
    return near[inside], x[inside], y[inside]

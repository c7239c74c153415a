"""A TAN-SIP header that stands in for a WCS whose distortion cannot be kept as header cards."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from astropy.io.fits import Header
from numpy.typing import NDArray

from app.errors import ImageFormatError

Array = NDArray[np.float64]
PixelToSky = Callable[[Array, Array], tuple[Array, Array]]

MAX_RESIDUAL_PX = 0.05
GOOD_RESIDUAL_PX = 0.005
ORDERS = (2, 3, 4, 5, 6, 7)
SAMPLES = 40


def fit_tan_sip(pixel_to_sky: PixelToSky, shape: tuple[int, int]) -> Header:
    """Fit TAN with SIP polynomials (Shupe et al. 2005) to an ICRS transform over an image.

    Least squares on a 40×40 grid of pixels; the lowest order whose largest residual is below
    0.005 px, or else the best. Raises ImageFormatError when that is worse than 0.05 px.
    """
    ny, nx = shape
    centre = np.array([(nx - 1) / 2, (ny - 1) / 2])
    x, y = (
        v.ravel()
        for v in np.meshgrid(
            np.linspace(-0.5, nx - 0.5, SAMPLES), np.linspace(-0.5, ny - 0.5, SAMPLES)
        )
    )
    lon, lat = pixel_to_sky(np.append(x, centre[0]), np.append(y, centre[1]))
    if not np.isfinite(lon).all():
        raise ImageFormatError("", "distortion tables: parts of the image have no sky position")
    origin = float(lon[-1]), float(lat[-1])
    plane = np.stack(tangent_plane(lon[:-1], lat[:-1], *origin))
    return _best_fit(x - centre[0], y - centre[1], plane, origin, centre + 1.0)


def tangent_plane(lon: Array, lat: Array, lon0: float, lat0: float) -> tuple[Array, Array]:
    """Gnomonic projection (deg) about (lon0, lat0)."""
    a, d = np.radians(lon - lon0), np.radians(lat)
    d0 = np.radians(lat0)
    cosine = np.sin(d0) * np.sin(d) + np.cos(d0) * np.cos(d) * np.cos(a)
    xi = np.cos(d) * np.sin(a) / cosine
    eta = (np.cos(d0) * np.sin(d) - np.sin(d0) * np.cos(d) * np.cos(a)) / cosine
    return np.degrees(xi), np.degrees(eta)


def _best_fit(
    u: Array, v: Array, plane: Array, origin: tuple[float, float], crpix: Array
) -> Header:
    best: tuple[float, Header] | None = None
    for order in ORDERS:
        residual_px, header = _fit_order(u, v, plane, origin, crpix, order)
        if best is None or residual_px < best[0]:
            best = residual_px, header
        if residual_px < GOOD_RESIDUAL_PX:
            break
    assert best is not None
    if best[0] > MAX_RESIDUAL_PX:
        raise ImageFormatError(
            "", f"distortion cannot be written as SIP: {best[0]:.3f} px off at the best"
        )
    return best[1]


def _fit_order(
    u: Array, v: Array, plane: Array, origin: tuple[float, float], crpix: Array, order: int
) -> tuple[float, Header]:
    """Largest residual (px) and header. No constant term: the centre is the origin."""
    half = max(float(np.abs(u).max()), float(np.abs(v).max()))
    powers = [(p, q) for n in range(1, order + 1) for p in range(n, -1, -1) for q in (n - p,)]
    design = np.stack([(u / half) ** p * (v / half) ** q for p, q in powers], axis=1)
    scaled, *_ = np.linalg.lstsq(design, plane.T, rcond=None)
    cd: Array = np.asarray(scaled[:2].T / half, dtype=np.float64)
    if abs(np.linalg.det(cd)) == 0.0:
        raise ImageFormatError("", "broken WCS: singular scale")
    inverse = np.linalg.inv(cd)
    residual = inverse @ (plane - (design @ scaled).T)
    sip = inverse @ scaled.T
    header = _tan_header(origin, crpix, cd, order)
    for index, (p, q) in enumerate(powers[2:], start=2):
        for name, row in (("A", 0), ("B", 1)):
            header[f"{name}_{p}_{q}"] = float(sip[row, index] / half ** (p + q))
    return float(np.hypot(*residual).max()), header


def _tan_header(origin: tuple[float, float], crpix: Array, cd: Array, order: int) -> Header:
    header = Header()
    header["WCSAXES"] = 2
    header["CTYPE1"], header["CTYPE2"] = "RA---TAN-SIP", "DEC--TAN-SIP"
    header["CUNIT1"], header["CUNIT2"] = "deg", "deg"
    for axis in (0, 1):
        header[f"CRVAL{axis + 1}"] = origin[axis]
        header[f"CRPIX{axis + 1}"] = float(crpix[axis])
        for column in (0, 1):
            header[f"CD{axis + 1}_{column + 1}"] = float(cd[axis, column])
    header["RADESYS"] = "ICRS"
    header["A_ORDER"], header["B_ORDER"] = order, order
    return header

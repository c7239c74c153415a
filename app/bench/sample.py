"""A few simulated exposures of one field: what a bench measures is the same everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

RA_DEG: Final = 150.1
DEC_DEG: Final = 2.2
EXPOSURES: Final = 5
SIDE_PX: Final = 1000
SCALE_DEG: Final = 0.25 / 3600
_STARS: Final = 300
_SKY_SIGMA: Final = 5.0
_STAMP_PX: Final = 25


def write_sample(folder: Path) -> None:
    """Write the exposures: float32 of 1000 × 1000 pixels of 0.25 arcsec, with seeing of 0.9 to 1.3
    arcsec, shifted by some pixels, in one band and on five nights."""
    random = np.random.default_rng(7)
    places = random.uniform(50, SIDE_PX - 50, (_STARS, 2))
    fluxes = 10 ** random.uniform(3.0, 5.0, _STARS)
    folder.mkdir()
    for night in range(EXPOSURES):
        shift = random.uniform(-8, 8, 2)
        sky = random.normal(0.0, _SKY_SIGMA, (SIDE_PX, SIDE_PX))
        for place, flux in zip(places + shift, fluxes, strict=True):
            _add_star(sky, place, flux, sigma_px=1.5 + 0.15 * night)
        fits.writeto(folder / f"night{night}.fits", sky.astype("f4"), _header(night, shift))


def _add_star(sky: np.ndarray, place: np.ndarray, flux: float, *, sigma_px: float) -> None:
    x0, y0 = (int(each) - _STAMP_PX // 2 for each in place)
    y, x = np.mgrid[y0 : y0 + _STAMP_PX, x0 : x0 + _STAMP_PX]
    distance2 = (x - place[0]) ** 2 + (y - place[1]) ** 2
    shape = np.exp(-distance2 / (2 * sigma_px**2)) / (2 * np.pi * sigma_px**2)
    sky[y0 : y0 + _STAMP_PX, x0 : x0 + _STAMP_PX] += flux * shape


def _header(night: int, shift: np.ndarray) -> fits.Header:
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval, wcs.wcs.cdelt = [RA_DEG, DEC_DEG], [-SCALE_DEG, SCALE_DEG]
    wcs.wcs.crpix = (np.array([SIDE_PX, SIDE_PX]) / 2 + 0.5 + shift).tolist()
    header = wcs.to_header()
    header["DATE-OBS"] = f"2026-03-1{night}T04:30:00"
    header["EXPTIME"] = 60.0
    header["FILTER"] = "r"
    header["TELESCOP"] = "Bench"
    header["MAGZERO"] = 27.5
    return header

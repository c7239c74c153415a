"""Small exposures of one star field, as files that ``skyloom ingest`` takes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from astropy.io import fits

from app.pixels.image import MASK_PLANES
from tests.services.survey import (
    SCALE_ARCSEC,
    ZERO_POINT_MAG,
    Exposure,
    exposure_header,
    simulate,
    standard_exposures,
)

COLLECTION = "drill"


def write_field(folder: Path) -> None:
    """Five exposures in one band, of which templates and differences are made."""
    folder.mkdir(parents=True)
    for exposure in standard_exposures():
        if exposure.band == "i":
            _write(folder / f"visit{exposure.visit}.fits", exposure)


def write_newcomers(folder: Path, *, first_visit: int, count: int) -> None:
    """Exposures that come while the service runs, in another band: no build takes them."""
    folder.mkdir(parents=True)
    lonely = replace(standard_exposures()[-1], stars=5)
    for visit in range(first_visit, first_visit + count):
        path = folder / f"visit{visit}.fits"
        _write(path, replace(lonely, visit=visit, mjd=60200.0 + visit / 1000))


def _write(path: Path, exposure: Exposure) -> None:
    flux, mask, variance = simulate(exposure)
    about = fits.Header(
        {
            "TELESCOP": "Simulated 8m", "INSTRUME": "SimCam", "VISIT": exposure.visit,
            "DETECTOR": 1, "FILTER": exposure.band, "MJD-OBS": exposure.mjd, "TIMESYS": "UTC",
            "EXPTIME": 30.0, "PROCTYPE": "calibrated",
        }
    )  # fmt: skip
    wcs = exposure_header(exposure)
    bits = {
        f"HIERARCH MP_{name}" if len(name) > 5 else f"MP_{name}": bit
        for name, bit in MASK_PLANES.items()
    }
    known = {"BUNIT": "adu", "MAGZERO": ZERO_POINT_MAG, "FWHM": exposure.fwhm_px * SCALE_ARCSEC}
    units = [
        fits.PrimaryHDU(header=about),
        fits.ImageHDU(flux, header=wcs + fits.Header(known), name="IMAGE"),
        fits.ImageHDU(variance, header=wcs + fits.Header({"BUNIT": "adu2"}), name="VARIANCE"),
        fits.ImageHDU(mask, header=wcs + fits.Header(bits), name="MASK"),
    ]
    fits.HDUList(units).writeto(path)

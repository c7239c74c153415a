"""The exposures as files and references that builds read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from astropy.io import fits

from app.pixels.image import MASK_PLANES
from app.recipes.recipe import ImageRef, PlaneRef
from tests.truth.exposures import Observation, Truth


def write_exposures(truth: Truth, folder: Path) -> tuple[ImageRef, ...]:
    """One three-plane file for each exposure, as the service ingests them; their references."""
    folder.mkdir(parents=True, exist_ok=True)
    return tuple(_write(truth, each, folder) for each in truth.observations)


def _write(truth: Truth, observation: Observation, folder: Path) -> ImageRef:
    settings, image = truth.settings, observation.image
    path = folder / f"truth-{observation.number:03d}.fits"
    wcs = observation.grid.fits_header()
    pixels = fits.ImageHDU(image.flux, header=wcs, name="IMAGE")
    pixels.header["BUNIT"] = "adu"
    pixels.header["MAGZERO"] = (image.zero_point_mag, "[mag] AB magnitude of 1 adu")
    pixels.header["GAIN"] = (settings.gain_e_per_adu, "[electron/adu]")
    mask = fits.ImageHDU(image.mask, header=wcs, name="MASK")
    for name, bit in MASK_PLANES.items():
        mask.header[f"HIERARCH MP_{name}"] = bit
    primary = fits.PrimaryHDU()
    primary.header["VISIT"] = observation.number
    primary.header["FILTER"] = "r"
    primary.header["MJD-OBS"] = observation.mjd
    primary.header["EXPTIME"] = 30.0
    variance = fits.ImageHDU(image.variance, header=wcs, name="VARIANCE")
    fits.HDUList([primary, pixels, mask, variance]).writeto(path, overwrite=True)
    planes = tuple(
        PlaneRef(path=str(path), hdu=hdu, role=role)
        for hdu, role in ((1, "image"), (2, "mask"), (3, "variance"))
    )
    fwhm_px = image.fwhm_px or np.nan
    return ImageRef(
        dataset_id=f"ivo://test.local/truth?{observation.number}",
        planes=planes,
        grid=observation.grid.to_text(),
        band="r",
        t_min=observation.mjd,
        t_max=observation.mjd + 30.0 / 86400.0,
        exposure_s=30.0,
        fwhm_arcsec=fwhm_px * observation.grid.pixel_scale_arcsec,
        zero_point_mag=image.zero_point_mag,
        gain_e_per_unit=settings.gain_e_per_adu,
        mask_planes=tuple(MASK_PLANES.items()),
        bunit="adu",
        checksum=f"truth-{settings.seed}-{observation.number}",
    )

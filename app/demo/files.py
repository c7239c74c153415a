"""Writing an exposure as real pipelines do: PRIMARY with cards, IMAGE, MASK, VARIANCE."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from astropy.io import fits
from astropy.time import Time

from app.demo.schedule import Visit
from app.demo.settings import Camera
from app.pixels.image import MASK_PLANES, MaskedImage

_DITHER_SEED: Final = 1
"""Fixed, so that the same pixels always give the same bytes."""
_QUANTIZE_LEVEL: Final = 16
"""Steps per sky noise: adds 0.03 % to the variance."""
_VARIANCE_STEP: Final = 1e-3
"""Step of the variance plane, as a share of the sky's. Not gzip: that writes the time of day."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """One file of the survey. ``zero_point_mag`` is the AB magnitude of one ADU, ``mjd`` the
    start, ``missed_cosmic_rays`` the pixels (x, y, 0-based) of tracks not in the mask."""

    path: str
    visit: int
    detector: int
    band: str
    mjd: float
    exposure_s: float
    zero_point_mag: float
    fwhm_arcsec: float
    sky_adu: float
    gain_e_per_adu: float
    missed_cosmic_rays: tuple[tuple[int, int], ...] = ()


def exposure_path(visit: Visit, detector: int) -> str:
    """Where a file lies below the survey's folder."""
    return f"images/{visit.band}/sim-{visit.visit:05d}-{detector}-{visit.band}.fits"


def write_exposure(
    path: Path,
    exposure: Exposure,
    visit: Visit,
    camera: Camera,
    image: MaskedImage,
    wcs: fits.Header,
) -> None:
    """Write the three planes, tile-compressed; the file appears whole or not at all."""
    hdus = fits.HDUList(
        [
            fits.PrimaryHDU(header=_primary(exposure, visit)),
            fits.CompImageHDU(
                image.flux,
                header=_image_header(exposure, camera, wcs),
                name="IMAGE",
                compression_type="RICE_1",
                quantize_level=_QUANTIZE_LEVEL,
                quantize_method=fits.hdu.compressed.SUBTRACTIVE_DITHER_2,
                dither_seed=_DITHER_SEED,
            ),
            fits.CompImageHDU(
                image.mask, header=_mask_header(wcs), name="MASK", compression_type="RICE_1"
            ),
            fits.CompImageHDU(
                image.variance,
                header=_variance_header(wcs),
                name="VARIANCE",
                compression_type="RICE_1",
                quantize_level=-_VARIANCE_STEP * float(np.nanmin(image.variance)),
                quantize_method=fits.hdu.compressed.NO_DITHER,
            ),
        ]
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.part")
    hdus.writeto(partial, overwrite=True)
    partial.replace(path)


def _primary(exposure: Exposure, visit: Visit) -> fits.Header:
    start = Time(exposure.mjd, format="mjd", scale="utc")
    return fits.Header(
        [
            ("TELESCOP", "Simulated 8m", "no such telescope"),
            ("INSTRUME", "SimCam", "camera"),
            ("OBSERVER", "Skyloom demo", ""),
            ("OBJECT", "Demo field", "name of the field"),
            ("VISIT", exposure.visit, "number of the visit"),
            ("DETECTOR", exposure.detector, "number of the detector"),
            ("FILTER", f"sim_{exposure.band}", "physical filter"),
            ("DATE-OBS", start.isot, "start of the exposure"),
            ("MJD-OBS", exposure.mjd, "[d] start of the exposure"),
            ("TIMESYS", "UTC", ""),
            ("EXPTIME", exposure.exposure_s, "[s] exposure time"),
            ("AIRMASS", round(visit.airmass, 4), ""),
            ("ROTANGLE", round(visit.rotation_deg, 4), "[deg] rotation of the camera"),
            ("PROCTYPE", "calibrated", "background subtracted, calibrated"),
        ]
    )


def _image_header(exposure: Exposure, camera: Camera, wcs: fits.Header) -> fits.Header:
    header = wcs.copy()
    saturation_adu = camera.full_well_e / exposure.gain_e_per_adu - exposure.sky_adu
    header.extend(
        [
            ("BUNIT", "adu", "background subtracted"),
            ("MAGZERO", exposure.zero_point_mag, "[mag] AB magnitude of 1 adu"),
            ("FWHM", exposure.fwhm_arcsec, "[arcsec] width of the PSF"),
            ("PIXSCALE", camera.pixel_scale_arcsec, "[arcsec] pixel"),
            ("GAIN", exposure.gain_e_per_adu, "[electron/adu]"),
            ("RDNOISE", camera.read_noise_e, "[electron]"),
            ("SATURATE", saturation_adu, "[adu] full well less sky"),
            ("SKYLEVEL", exposure.sky_adu, "[adu] sky that was subtracted"),
        ]
    )
    return header


def _mask_header(wcs: fits.Header) -> fits.Header:
    header = wcs.copy()
    for name, bit in MASK_PLANES.items():
        header[f"HIERARCH MP_{name}" if len(name) > 5 else f"MP_{name}"] = bit
    return header


def _variance_header(wcs: fits.Header) -> fits.Header:
    header = wcs.copy()
    header["BUNIT"] = "adu2"
    return header

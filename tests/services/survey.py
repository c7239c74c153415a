"""A few small exposures of one star field, as FITS files and as rows of the metadata store."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from app.pixels.grid import Grid
from app.pixels.image import MASK_PLANES, bits
from app.recipes.recipe import ImageRef, PlaneRef
from app.schema.rows import DatasetRow
from app.services.ingest.open_file import checksum_of
from app.sky.predicates import bounding_circle, centroid
from app.sky.stcs import format_region
from app.stores.image_files import ImageFiles

CENTRE = (150.0, 2.0)
SCALE_ARCSEC = 0.4
SIZE_PX = 200
ZERO_POINT_MAG = 27.0
SKY_NOISE = 3.0
TRANSIENT_FLUX = 4000.0
AUTHORITY = "test.local"


@dataclass(frozen=True, kw_only=True)
class Exposure:
    """One image to simulate."""

    visit: int
    band: str = "i"
    rotation_deg: float = 0.0
    offset_px: tuple[float, float] = (0.0, 0.0)
    fwhm_px: float = 3.2
    transparency: float = 1.0
    sky: float = 0.0
    mjd: float = 60000.0
    transient: bool = False
    zero_point: bool = True
    stars: int = 60
    seed: int = field(default=0)

    @property
    def dataset_id(self) -> str:
        """obs_publisher_did."""
        return f"ivo://{AUTHORITY}/field?{self.band}/{self.visit}"


def standard_exposures() -> tuple[Exposure, ...]:
    """Five good exposures in i (the last holds the transient), a lonely one in z."""
    return (
        Exposure(visit=1, fwhm_px=2.8, mjd=60001),
        Exposure(visit=2, fwhm_px=3.0, rotation_deg=20, offset_px=(6, -4), mjd=60002),
        Exposure(visit=3, fwhm_px=3.1, rotation_deg=-35, offset_px=(-5, 3), mjd=60003, sky=50),
        Exposure(visit=4, fwhm_px=3.3, rotation_deg=90, transparency=0.8, mjd=60004),
        Exposure(visit=5, fwhm_px=4.2, rotation_deg=3, offset_px=(2, 2), mjd=60100, transient=True),
        Exposure(visit=9, band="z", mjd=60009),
    )


def exposure_header(exposure: Exposure) -> fits.Header:
    """A TAN WCS, rotated and shifted about the centre of the field."""
    angle = np.radians(exposure.rotation_deg)
    step = SCALE_ARCSEC / 3600.0
    header = fits.Header()
    header["CTYPE1"], header["CTYPE2"] = "RA---TAN", "DEC--TAN"
    header["CRVAL1"], header["CRVAL2"] = CENTRE
    header["CRPIX1"] = (SIZE_PX + 1) / 2 + exposure.offset_px[0]
    header["CRPIX2"] = (SIZE_PX + 1) / 2 + exposure.offset_px[1]
    header["CD1_1"], header["CD1_2"] = -step * np.cos(angle), step * np.sin(angle)
    header["CD2_1"], header["CD2_2"] = step * np.sin(angle), step * np.cos(angle)
    header["RADESYS"] = "ICRS"
    return header


def star_field(count: int) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Longitude, latitude (deg) and flux of the stars, always the same."""
    rng = np.random.default_rng(42)
    reach = 0.75 * SIZE_PX * SCALE_ARCSEC / 3600.0
    east, north = rng.uniform(-reach, reach, (2, count))
    lon = CENTRE[0] + east / np.cos(np.radians(CENTRE[1]))
    return lon, CENTRE[1] + north, 10 ** rng.uniform(3.2, 4.8, count)


TRANSIENT = (CENTRE[0] + 12 * SCALE_ARCSEC / 3600.0, CENTRE[1] - 15 * SCALE_ARCSEC / 3600.0)


def add_star(flux: NDArray[np.float64], x: float, y: float, total: float, fwhm_px: float) -> None:
    """Add a Gaussian star, integrated over pixels closely enough for tests."""
    sigma = fwhm_px / 2.3548
    dy, dx = (np.arange(length) - at for length, at in zip(flux.shape, (y, x), strict=True))
    near = np.ix_(np.abs(dy) < 6 * sigma, np.abs(dx) < 6 * sigma)
    r2 = dx[near[1]] ** 2 + dy[near[0]] ** 2
    flux[near] += total / (2 * np.pi * sigma**2) * np.exp(-r2 / (2 * sigma**2))


def simulate(
    exposure: Exposure,
) -> tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.float32]]:
    """Flux, mask and variance planes."""
    grid = Grid.from_header(exposure_header(exposure), (SIZE_PX, SIZE_PX))
    flux = np.zeros((SIZE_PX, SIZE_PX))
    lon, lat, total = star_field(exposure.stars)
    for x, y, f in zip(*grid.sky_to_pixel(lon, lat), total, strict=True):
        add_star(flux, x, y, f, exposure.fwhm_px)
    if exposure.transient:
        x, y = (float(v) for v in grid.sky_to_pixel(*TRANSIENT))
        add_star(flux, x, y, TRANSIENT_FLUX, exposure.fwhm_px)
    flux *= exposure.transparency
    variance = SKY_NOISE**2 + np.maximum(flux, 0) / 2.0
    rng = np.random.default_rng(1000 + exposure.visit + exposure.seed)
    noisy = flux + exposure.sky + rng.normal(size=flux.shape) * np.sqrt(variance)
    mask = np.zeros(flux.shape, dtype=np.int32)
    bad_column = 20 + 7 * exposure.visit % 160
    mask[:, bad_column] = bits("BAD")
    noisy[:, bad_column] = 60000
    return noisy.astype(np.float32), mask, variance.astype(np.float32)


def write_exposure(folder: Path, exposure: Exposure) -> Path:
    """The exposure as a three-plane FITS file."""
    flux, mask, variance = simulate(exposure)
    header = exposure_header(exposure)
    path = folder / f"{exposure.band}-{exposure.visit}.fits"
    units = [
        fits.PrimaryHDU(),
        fits.ImageHDU(flux, header=header, name="IMAGE"),
        fits.ImageHDU(mask, header=header, name="MASK"),
        fits.ImageHDU(variance, header=header, name="VARIANCE"),
    ]
    fits.HDUList(units).writeto(path, overwrite=True)
    return path


def image_ref(path: Path, exposure: Exposure) -> ImageRef:
    """The reference to a written exposure."""
    grid = Grid.from_header(exposure_header(exposure), (SIZE_PX, SIZE_PX))
    planes = tuple(
        PlaneRef(path=str(path), hdu=hdu, role=role)
        for hdu, role in ((1, "image"), (2, "mask"), (3, "variance"))
    )
    zero_point = ZERO_POINT_MAG + 2.5 * np.log10(exposure.transparency)
    return ImageRef(
        dataset_id=exposure.dataset_id,
        planes=planes,
        grid=grid.to_text(),
        band=exposure.band,
        t_min=exposure.mjd,
        t_max=exposure.mjd + 30 / 86400,
        exposure_s=30.0,
        fwhm_arcsec=exposure.fwhm_px * SCALE_ARCSEC,
        noise=SKY_NOISE,
        zero_point_mag=float(zero_point) if exposure.zero_point else None,
        mask_planes=tuple(MASK_PLANES.items()),
        bunit="adu",
        checksum=checksum_of(ImageFiles(path.parent), str(path)),
    )


def dataset_row(path: Path, exposure: Exposure) -> DatasetRow:
    """The row an ingest of the exposure gives."""
    ref = image_ref(path, exposure)
    region = Grid.from_text(ref.grid).footprint()
    centre = centroid(region)
    return DatasetRow(
        columns={
            "dataproduct_type": "image",
            "dataproduct_subtype": "lsst.visit_image",
            "calib_level": 2,
            "obs_collection": "field",
            "obs_id": f"{exposure.band}/{exposure.visit}",
            "obs_publisher_did": exposure.dataset_id,
            "access_url": f"/datalink/links?ID={quote(exposure.dataset_id, safe='')}",
            "access_format": "application/x-votable+xml;content=datalink",
            "s_ra": centre.lon_deg,
            "s_dec": centre.lat_deg,
            "s_fov": 2 * bounding_circle(region).radius_deg,
            "s_region": format_region(region),
            "s_xel1": SIZE_PX,
            "s_xel2": SIZE_PX,
            "s_resolution": ref.fwhm_arcsec,
            "t_min": ref.t_min,
            "t_max": ref.t_max,
            "t_exptime": ref.exposure_s,
            "em_min": 7e-7,
            "em_max": 8e-7,
            "instrument_name": "TestCam",
            "lsst_visit": exposure.visit,
            "lsst_detector": 0,
            "lsst_band": exposure.band,
        },
        file_path=str(path),
        file_hdu=1,
        file_size=path.stat().st_size,
        file_mtime_ns=path.stat().st_mtime_ns,
        file_checksum=ref.checksum,
        image_ref=ref.to_text(),
    )

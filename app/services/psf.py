"""The PSF of an image at a place: a stamp of it and its shape."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray
from PIL import Image

from app.errors import CoverageError, NotFoundError
from app.pixels.grid import Grid
from app.pixels.psf_field import Profile, PsfShape
from app.services.builds_candidates import image_ref_of
from app.sky.shapes import Point
from app.stores.images import ImageStore
from app.stores.tables.datasets import DatasetStore

PICTURE_PX = 320


Place = Point | tuple[float, float]
"""Where on an image: a direction, or a pixel (x, y), 0-based: the first one's middle is (0, 0)."""


@dataclass(frozen=True, slots=True)
class PsfAnswer:
    """The PSF of ``dataset_id`` at pixel (x, y), which lies at (lon_deg, lat_deg)."""

    dataset_id: str
    x: float
    y: float
    lon_deg: float
    lat_deg: float
    pixel_scale_arcsec: float
    profile: Profile
    shape: PsfShape

    def stamp(self) -> NDArray[np.float64]:
        """Square, odd, of unit sum, the star in its middle."""
        return self.profile.stamp()

    def to_json(self) -> dict[str, Any]:
        """Moments in px², widths in px and arcsec."""
        shape, scale = self.shape, self.pixel_scale_arcsec
        return {
            "obs_publisher_did": self.dataset_id,
            "x": self.x,
            "y": self.y,
            "s_ra": self.lon_deg,
            "s_dec": self.lat_deg,
            "pixel_scale_arcsec": scale,
            "ixx_px2": shape.ixx,
            "iyy_px2": shape.iyy,
            "ixy_px2": shape.ixy,
            "determinant_radius_px": shape.sigma_px,
            "determinant_radius_arcsec": shape.sigma_px * scale,
            "fwhm_px": shape.fwhm_px,
            "fwhm_arcsec": shape.fwhm_px * scale,
            "ellipticity": list(shape.ellipticity),
        }

    def to_fits(self) -> bytes:
        """One image (float32), place and shape in its header."""
        shape, stamp = self.shape, self.stamp()
        header = fits.Header()
        header["OBSPUBID"] = self.dataset_id
        for key, value, comment in (
            ("PSFX", self.x, "[px] place on the image, 0-based"),
            ("PSFY", self.y, "[px]"),
            ("RA", self.lon_deg, "[deg] ICRS"),
            ("DEC", self.lat_deg, "[deg] ICRS"),
            ("PIXSCALE", self.pixel_scale_arcsec, "[arcsec] side of a pixel"),
            ("IXX", shape.ixx, "[px2] adaptive second moment"),
            ("IYY", shape.iyy, "[px2]"),
            ("IXY", shape.ixy, "[px2]"),
            ("SIGMA", shape.sigma_px, "[px] determinant radius"),
            ("FWHM", shape.fwhm_px, "[px] full width at half maximum"),
        ):
            header[key] = (value, comment)
        buffer = io.BytesIO()
        fits.PrimaryHDU(stamp.astype(">f4"), header=header).writeto(buffer)
        return buffer.getvalue()

    def to_png(self) -> bytes:
        """Grey on a scale of square roots, the first row below."""
        stamp = np.clip(self.stamp(), 0.0, None)
        grey = np.round(255.0 * np.sqrt(stamp / stamp.max())).astype(np.uint8)
        picture = Image.fromarray(grey[::-1]).resize((PICTURE_PX,) * 2, Image.Resampling.NEAREST)
        buffer = io.BytesIO()
        picture.save(buffer, format="PNG")
        return buffer.getvalue()


class PsfService:
    """Evaluates the PSFs that images bring in their files."""

    def __init__(self, *, datasets: DatasetStore, images: ImageStore) -> None:
        self._datasets = datasets
        self._images = images

    def evaluate(self, dataset_id: str, place: Place) -> PsfAnswer:
        """The PSF at a place.

        Raises DatasetNotFoundError, NotFoundError for an image without a PSF in its file,
        and for a place where the image, or an input of it, is not.
        """
        row = self._datasets.get(dataset_id)
        ref = image_ref_of(row)
        psf = self._images.read_psf(ref)
        if psf is None:
            raise NotFoundError(f"A PSF in the file of {row.dataset_id}")
        grid = Grid.from_text(ref.grid)
        x, y = _pixel(grid, place)
        try:
            profile = psf.profile(x, y)
            shape = profile.shape()
        except CoverageError as fault:
            raise NotFoundError(f"A PSF of {row.dataset_id} there ({fault})") from fault
        lon, lat = (float(each) for each in grid.pixel_to_sky(np.array(x), np.array(y)))
        return PsfAnswer(row.dataset_id, x, y, lon, lat, grid.pixel_scale_arcsec, profile, shape)


def _pixel(grid: Grid, place: Place) -> tuple[float, float]:
    if not isinstance(place, Point):
        return place
    x, y = (float(each) for each in grid.sky_to_pixel(place.lon_deg, place.lat_deg))
    return x, y

"""The PSF of an image at a place: a stamp of it and its shape."""

from __future__ import annotations

import io
from dataclasses import dataclass
from math import isfinite
from typing import Any, Final

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray
from PIL import Image

from app.errors import CoverageError, NotFoundError, ParameterError
from app.pixels.grid import Grid
from app.pixels.psf_coadd import CoaddPsf
from app.pixels.psf_field import Profile, PsfShape
from app.recipes.recipe import ImageRef
from app.schema.access import ANYBODY, Identity
from app.schema.rows import DatasetRow
from app.services.access import GATE, Gate
from app.services.builds_candidates import image_ref_of
from app.services.image_psf import ImagePsfs, Origin
from app.sky.shapes import Point
from app.sky.stcs import describe_area, parse_region
from app.stores.tables.datasets import DatasetStore

PICTURE_PX: Final = 320
Place = Point | tuple[float, float]
"""Where on an image: a direction, or a pixel (x, y), 0-based: the first one's middle is (0, 0)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PsfAnswer:
    """The PSF of ``dataset_id`` at pixel (x, y), which lies at (lon_deg, lat_deg).

    ``origin``: whether the file brings it or it was measured on the image; ``stars`` that showed
    it there, 0 when that is not known.
    """

    dataset_id: str
    x: float
    y: float
    lon_deg: float
    lat_deg: float
    pixel_scale_arcsec: float
    origin: Origin
    stars: int
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
            "origin": self.origin,
            "n_stars": self.stars,
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
            ("PSFORIG", self.origin, "of the file, or measured on the image"),
            ("NSTARS", self.stars, "stars that showed it (0: not known)"),
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
    """Evaluates the PSFs of images."""

    def __init__(self, *, datasets: DatasetStore, psfs: ImagePsfs, gate: Gate = GATE) -> None:
        self._gate = gate
        self._datasets = datasets
        self._psfs = psfs

    def evaluate(self, dataset_id: str, place: Place, identity: Identity = ANYBODY) -> PsfAnswer:
        """The PSF at a place, for someone.

        Raises
        ------
        DatasetNotFoundError
            The identifier is not known.
        AuthenticationError, ForbiddenError
            They may not have the pixels.
        ParameterError
            The image has no pixels here, or the place is not on it.
        NotFoundError
            The image brings no PSF and shows no stars, or none of its inputs is at the place.
        LimitError
            Its PSF would have to be measured, and it is too large for that.
        ImageFormatError
            The file cannot be read.
        """
        row = self._datasets.get(dataset_id)
        self._gate.require(identity, row)
        ref = _image_of(row)
        grid = Grid.from_text(ref.grid)
        x, y, point = _on_image(row, grid, place)
        psf, origin = self._psf_of(ref)
        try:
            profile = psf.profile(x, y)
            shape = profile.shape()
        except CoverageError as fault:
            raise NotFoundError(f"A PSF of {row.dataset_id} at that place ({fault})") from fault
        return PsfAnswer(
            dataset_id=row.dataset_id,
            x=x,
            y=y,
            lon_deg=point.lon_deg,
            lat_deg=point.lat_deg,
            pixel_scale_arcsec=grid.pixel_scale_arcsec,
            origin=origin,
            stars=sum(each.field.stars for each in psf.components if each.reaches(x, y)),
            profile=profile,
            shape=shape,
        )

    def _psf_of(self, ref: ImageRef) -> tuple[CoaddPsf, Origin]:
        found = self._psfs.find(ref)
        if found is None:
            raise NotFoundError(
                f"A PSF of {ref.dataset_id} (its file brings none that can be read, and the image "
                "shows no stars to measure it on)"
            )
        return found


def _image_of(row: DatasetRow) -> ImageRef:
    """The image of a dataset. Raises ParameterError if its pixels are not here, or not on the
    sky."""
    if row.is_external:
        where = row.columns.get("access_url") or "an address nobody gave"
        reason = f"{row.dataset_id} lies at another service ({where}); PSFs are told of images here"
        raise ParameterError("ID", reason)
    if row.is_buildable:
        raise ParameterError("ID", f"{row.dataset_id} is not built; its link builds it")
    if not ImageRef.from_text(row.image_ref).grid:
        raise ParameterError("ID", f"{row.dataset_id} is no image with a pixel grid on the sky")
    return image_ref_of(row)


def _on_image(row: DatasetRow, grid: Grid, place: Place) -> tuple[float, float, Point]:
    """Pixel and direction of a place. Raises ParameterError for one that is not on the image."""
    if isinstance(place, Point):
        x, y = (float(each) for each in grid.sky_to_pixel(place.lon_deg, place.lat_deg))
        if not (_within(x, grid.shape[1]) and _within(y, grid.shape[0])):
            raise ParameterError("POS", f"the place is not on the image{_whereabouts(row)}")
        return x, y, place
    x, y = place
    for name, value, size in (("X", x, grid.shape[1]), ("Y", y, grid.shape[0])):
        if not _within(value, size):
            allowed = f"-0.5 <= {name} < {size - 0.5:.1f}"
            raise ParameterError(name, f"{value:g} is not on the image, where {allowed} (pixels)")
    lon, lat = (float(each) for each in grid.pixel_to_sky(np.array(x), np.array(y)))
    if not isfinite(lon):
        raise ParameterError("X", f"pixel ({x:g}, {y:g}) of the image is not on the sky")
    return x, y, Point(lon, lat)


def _within(value: float, size: int) -> bool:
    return -0.5 <= value < size - 0.5


def _whereabouts(row: DatasetRow) -> str:
    region = row.columns.get("s_region")
    return "" if region is None else f", which lies {describe_area(parse_region(str(region)))}"

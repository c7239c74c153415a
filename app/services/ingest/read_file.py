"""One file to its rows. Runs in worker processes: file in, plain values out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from urllib.parse import quote

from app.errors import ImageFormatError, RegionError, RemoteUnavailableError
from app.pixels.grid import Grid
from app.recipes.recipe import ImageRef
from app.schema.rows import DatasetRow, Value, links_path
from app.services.ingest.calibration import find_calibrations
from app.services.ingest.cards import Cards, CardValue
from app.services.ingest.describe import (
    Span,
    find_band,
    find_columns,
    find_photometry,
    find_span,
    wavelengths_of,
)
from app.services.ingest.files import FoundFile
from app.services.ingest.hdus import ImageUnit, is_cube
from app.services.ingest.noise import sample_pixels
from app.services.ingest.open_file import OpenFile, checksum_of
from app.services.ingest.profile import Profile
from app.services.ingest.rules import find_value
from app.services.ingest.valid_pixels import Valid
from app.sky.areas import prepare
from app.sky.predicates import bounding_circle, centroid
from app.sky.shapes import Polygon
from app.sky.stcs import format_region
from app.stores.fits_files import format_faults
from app.stores.image_files import ImageFiles
from app.stores.remote.addresses import name_of
from app.votable.datalink import MEDIA_TYPE

_SUFFIX = re.compile(r"\.(?:fits|fit|fts)(?:\.(?:gz|bz2|fz))?$", re.IGNORECASE)
_DETECTORS_PER_VISIT = 1000
"""lsst_ccdvisitid is visit × 1000 + detector, as Rubin's DP0.2 joins them."""


@dataclass(frozen=True, slots=True)
class FileResult:
    """The rows of a file, or why it has none; ``notes`` tell of HDUs that were left out."""

    file: FoundFile
    rows: tuple[DatasetRow, ...] = ()
    reason: str | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FileReader:
    """Reads the files of one collection by one profile."""

    profile: Profile
    authority: str
    collection: str
    files: ImageFiles

    def read(self, file: FoundFile) -> FileResult:
        """Never raises for what is wrong with a file: that is the result's reason."""
        if file.fault is not None:
            return FileResult(file, reason=file.fault)
        try:
            with ExitStack() as files:
                return self._read(file, files)
        except ImageFormatError as fault:
            return FileResult(file, reason=_reason(fault, file))
        except RemoteUnavailableError as fault:
            return FileResult(file, reason=str(fault))

    def _read(self, file: FoundFile, files: ExitStack) -> FileResult:
        opened = OpenFile(file, self.profile.settings_for(file.name), self.files, files)
        images = opened.images()
        checksum = checksum_of(self.files, file.path)
        rows, notes = [], []
        for image in images:
            part = "" if len(images) == 1 else f":{_part(image)}"
            try:
                with format_faults(name_of(file.path)):
                    row, missing = self._row(opened, image, part, checksum)
                rows.append(row)
                notes += [f"it names a frame that is not there: {name}" for name in missing]
            except ImageFormatError as fault:
                where = f"HDU {image.index}: " if part else ""
                notes.append(where + _reason(fault, file))
        if not rows:
            return FileResult(file, reason="; ".join(notes))
        return FileResult(file, tuple(rows), None, tuple(notes))

    def _row(
        self, opened: OpenFile, image: ImageUnit, part: str, checksum: str
    ) -> tuple[DatasetRow, tuple[str, ...]]:
        """The row of one image of a file, and the calibration frames that its header names and
        that are not there. Raises ImageFormatError."""
        headers = opened.headers_of(image)
        grid = Grid.from_header(headers[0], image.shape, opened.hdulist)
        planes = opened.planes_of(image)
        names = opened.mask_planes_of(planes)
        polygon = _footprint(grid, opened.valid_pixels(planes, names))
        settings, cards = opened.settings, Cards(headers, _facts(opened.file, image, part))
        band, filter_name = find_band(settings, cards)
        span = find_span(settings, cards)
        mapped, cards = find_columns(settings, cards.with_facts(band=band))
        photometry = find_photometry(settings, cards, grid.pixel_scale_arcsec, span.exposure_s)
        did = self._identifier(str(find_value(settings.identifier, cards) or cards.find("path")))
        columns: dict[str, Value] = {
            **wavelengths_of(settings, band),
            **mapped,
            **_place(grid, polygon),
            **self._access(did, opened.file.size),
            **_times(span),
            "s_resolution": photometry.fwhm_arcsec,
            "lsst_band": band,
            "lsst_filter": filter_name,
            "lsst_ccdvisitid": mapped.get("lsst_ccdvisitid", _ccd_visit(mapped)),
        }
        frames, missing = find_calibrations(settings, cards, opened.file)
        ref = ImageRef(
            dataset_id=did,
            planes=tuple(plane.ref for plane in planes),
            grid=grid.to_text(),
            band=band,
            mask_planes=names,
            mask_codes=opened.mask_codes_of(planes),
            t_min=span.t_min,
            t_max=span.t_max,
            exposure_s=span.exposure_s,
            fwhm_arcsec=photometry.fwhm_arcsec,
            zero_point_mag=photometry.zero_point_mag,
            gain_e_per_unit=photometry.gain_e_per_unit,
            saturation=photometry.saturation,
            flux_scale=photometry.flux_scale,
            bunit=photometry.bunit,
            checksum=checksum,
            calibrations=frames,
        )
        sample = sample_pixels(ref, grid.shape, planes)
        row = DatasetRow(
            columns={name: value for name, value in columns.items() if value is not None},
            file_path=opened.file.path,
            file_hdu=image.index,
            file_size=opened.file.size,
            file_mtime_ns=opened.file.mtime_ns,
            file_checksum=checksum,
            image_ref=replace(
                ref, noise=sample.noise, usable_fraction=sample.usable_fraction
            ).to_text(),
        )
        return row, missing

    def _identifier(self, path: str) -> str:
        return f"ivo://{self.authority}/{self.collection}?{quote(path, safe='/-._~+:,=@')}"

    def _access(self, did: str, size_bytes: int) -> dict[str, Value]:
        return {
            "obs_publisher_did": did,
            "obs_collection": self.collection,
            "access_url": links_path(did),
            "access_format": MEDIA_TYPE,
            "access_estsize": max(1, round(size_bytes / 1000)),
        }


def _reason(fault: ImageFormatError, file: FoundFile) -> str:
    """The reason alone, but with the name of the file at fault when it is another one."""
    name, reason = str(fault.args[0]), str(fault.args[1])
    return reason if name in {"", name_of(file.path)} else f"{name}: {reason}"


def _part(image: ImageUnit) -> str:
    """What tells an image from the others of its file: its name and version, or its HDU."""
    return f"{image.name}{image.version}" if image.name else str(image.index)


def _facts(file: FoundFile, image: ImageUnit, part: str) -> Mapping[str, CardValue]:
    path = _SUFFIX.sub("", file.name)
    folder, _, stem = path.rpartition("/")
    return {
        "path": path,
        "folder": folder,
        "stem": stem,
        "part": part,
        "hdu": image.index,
        "extname": image.name,
        "extver": image.version,
        "type": "cube" if is_cube(image) else "image",
    }


def _footprint(grid: Grid, valid: Valid | None) -> Polygon | None:
    """None for an image of a hemisphere or more, which no polygon describes.

    Raises ImageFormatError for a WCS that maps the image to no area of the sky.
    """
    try:
        polygon = grid.footprint(valid)
        prepare(polygon)
        return polygon
    except RegionError as fault:
        raise ImageFormatError("", f"broken WCS: no area of the sky ({fault.args[1]})") from fault
    except ImageFormatError as fault:
        if "hemisphere" in str(fault.args[1]):
            return None
        raise


def _place(grid: Grid, polygon: Polygon | None) -> dict[str, Value]:
    ny, nx = grid.shape
    place: dict[str, Value] = {
        "s_xel1": nx,
        "s_xel2": ny,
        "s_pixel_scale": grid.pixel_scale_arcsec,
    }
    if polygon is None:
        lon, lat = grid.pixel_to_sky((nx - 1) / 2, (ny - 1) / 2)
        return place | {"s_ra": float(lon), "s_dec": float(lat)}
    centre = centroid(polygon)
    return place | {
        "s_ra": centre.lon_deg,
        "s_dec": centre.lat_deg,
        "s_fov": 2 * bounding_circle(polygon).radius_deg,
        "s_region": format_region(polygon),
    }


def _times(span: Span) -> dict[str, Value]:
    return {"t_min": span.t_min, "t_max": span.t_max, "t_exptime": span.exposure_s}


def _ccd_visit(columns: Mapping[str, Value]) -> int | None:
    visit, detector = columns.get("lsst_visit"), columns.get("lsst_detector")
    if not isinstance(visit, int) or not isinstance(detector, int):
        return None
    return visit * _DETECTORS_PER_VISIT + detector

"""A file under examination, with its companion files: HDUs, planes, valid pixels, checksum."""

from __future__ import annotations

import hashlib
import os
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from astropy.io.fits import Header

from app.errors import ImageFormatError
from app.pixels.image import MASK_PLANES
from app.recipes.recipe import PlaneRef
from app.services.ingest.axes import require_few_axes
from app.services.ingest.files import FoundFile
from app.services.ingest.hdus import (
    ImageUnit,
    is_cube,
    list_units,
    own_planes,
    partner_in,
    plane_of,
)
from app.services.ingest.profile import Settings
from app.services.ingest.valid_pixels import Valid, find_data_flagged, find_valid
from app.stores.fits_files import format_faults, require_whole_headers
from app.stores.image_files import ImageFiles
from app.stores.remote.addresses import is_remote, name_of

_CHUNK = 1 << 23


@dataclass(frozen=True, slots=True)
class Plane:
    """A plane's HDU and the file it lies in."""

    ref: PlaneRef
    unit: ImageUnit
    hdulist: Any
    size: int


class OpenFile:
    """A science file; ``files`` closes it and whatever companions were opened."""

    def __init__(
        self, file: FoundFile, settings: Settings, store: ImageFiles, files: ExitStack
    ) -> None:
        self.file = file
        self.settings = settings
        self._store = store
        self._files = files
        self.hdulist = self._open(file.path)
        require_whole_headers(self.hdulist)
        self.units = list_units(self.hdulist, settings)
        self._companions: dict[str, tuple[Any, list[ImageUnit], int]] = {}

    def _open(self, path: str) -> Any:
        if not is_remote(path):
            require_few_axes(self._store.data_dir / path)
        return self._files.enter_context(self._store.open_fits(path))

    def images(self) -> list[ImageUnit]:
        """The HDUs that are images in their own right. Raises ImageFormatError without any."""
        images = [unit for unit in self.units if unit.role == "image"]
        if images:
            return images
        roles = ", ".join(sorted({unit.role for unit in self.units}))
        reason = f"no science image, only {roles}" if roles else "no image with pixels"
        raise ImageFormatError("", reason)

    def headers_of(self, image: ImageUnit) -> list[Header]:
        """The image's own header, then the primary's."""
        own = self.hdulist[image.index].header
        return [own] if image.index == 0 else [own, self.hdulist[0].header]

    def planes_of(self, image: ImageUnit) -> list[Plane]:
        """The image, then its variance (of whatever kind) and mask: companion files first."""
        planes = [
            Plane(plane_of(image, self.file.path, "image"), image, self.hdulist, self.file.size)
        ]
        if is_cube(image):
            return planes
        found = {**self._own_planes(image), **self._companion_planes(image)}
        noise = next((found[r] for r in ("variance", "weight", "stddev") if r in found), None)
        return planes + [plane for plane in (noise, found.get("mask")) if plane is not None]

    def _own_planes(self, image: ImageUnit) -> dict[str, Plane]:
        return {
            role: Plane(plane_of(unit, self.file.path, role), unit, self.hdulist, self.file.size)
            for role, unit in own_planes(image, self.units).items()
        }

    def _companion_planes(self, image: ImageUnit) -> dict[str, Plane]:
        """Raises ImageFormatError for a companion that is damaged or does not fit."""
        planes = {}
        for role, path in self.file.companions:
            if role == "ignore":
                continue
            with format_faults(name_of(path)):
                hdulist, units, size = self._open_companion(path)
            unit = partner_in(image, units)
            if unit is None:
                raise ImageFormatError("", f"no HDU of its companion {name_of(path)} fits it")
            planes[role] = Plane(plane_of(unit, path, role), unit, hdulist, size)
        return planes

    def _open_companion(self, path: str) -> tuple[Any, list[ImageUnit], int]:
        if path not in self._companions:
            hdulist = self._open(path)
            require_whole_headers(hdulist)
            units = list_units(hdulist, self.settings)
            self._companions[path] = (hdulist, units, self._store.identity(path)[1])
        return self._companions[path]

    def mask_planes_of(self, planes: list[Plane]) -> tuple[tuple[str, int], ...]:
        """Plane name and bit: the profile's, else those of the mask header's MP_ cards."""
        mask = next((plane for plane in planes if plane.ref.role == "mask"), None)
        if mask is None or (self.settings.mask_codes and not self.settings.mask_planes):
            return ()
        if self.settings.mask_planes:
            return self.settings.mask_planes
        header = mask.hdulist[mask.unit.index].header
        return tuple(
            (name, bit)
            for key, bit in header.items()
            if key.startswith("MP_") and (name := key[3:].upper()) in MASK_PLANES
        )

    def mask_codes_of(self, planes: list[Plane]) -> tuple[tuple[int, str], ...]:
        """Code and plane name, where a mask numbers its defects."""
        has_mask = any(plane.ref.role == "mask" for plane in planes)
        return self.settings.mask_codes if has_mask and not self.settings.mask_planes else ()

    def valid_pixels(self, planes: list[Plane], names: tuple[tuple[str, int], ...]) -> Valid | None:
        """True where there are data; None when that is so all along the border.

        Reads the image plane and, if it can say NO_DATA, the mask. Raises ImageFormatError for
        planes that are cut short.
        """
        valid: Valid | None = None
        for plane in planes:
            with format_faults(name_of(plane.ref.path)):
                found = self._valid_in(plane, names)
            if found is not None:
                valid = found if valid is None else valid & found
        return valid

    def _valid_in(self, plane: Plane, names: tuple[tuple[str, int], ...]) -> Valid | None:
        if plane.ref.role == "image":
            return find_valid(plane.hdulist, plane.unit, plane.size)
        codes = self.settings.mask_codes if plane.ref.role == "mask" and not names else ()
        named = names if plane.ref.role == "mask" else ()
        return find_data_flagged(plane.hdulist, plane.unit, plane.size, named, codes)


def checksum_of(files: ImageFiles, path: str) -> str:
    """SHA-256 of a file (hex), read in pieces."""
    digest = hashlib.sha256()
    with format_faults(name_of(path)), files.open(path) as file:
        for start in range(0, file.size_bytes, _CHUNK):
            stop = min(start + _CHUNK, file.size_bytes)
            file.need([(start, stop)])
            digest.update(os.pread(file.descriptor, stop - start, start))
    return digest.hexdigest()

"""Which HDUs of a file are images of the sky, and which planes belong to each."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from astropy.io import fits

from app.errors import ImageFormatError
from app.pixels.wcs_cards import find_sky_axes
from app.recipes.recipe import PlaneRef
from app.services.ingest.profile import Settings

_UNNAMED = {"", "PRIMARY", "COMPRESSED_IMAGE"}


@dataclass(frozen=True, slots=True)
class ImageUnit:
    """An HDU with pixels: where it is, what it is, its name and version, its numpy shape."""

    index: int
    role: str
    name: str
    version: int
    shape: tuple[int, ...]

    @property
    def plane_shape(self) -> tuple[int, ...]:
        """(ny, nx)."""
        return self.shape[-2:]


def list_units(hdulist: Any, settings: Settings) -> list[ImageUnit]:
    """The image HDUs of two dimensions or more, with the roles that the profile gives them."""
    units = []
    for index in range(len(hdulist)):
        hdu = hdulist[index]
        if not hdu.is_image or isinstance(hdu, fits.GroupsHDU):
            continue
        shape = tuple(int(n) for n in hdu.shape)
        if len(shape) >= 2 and all(shape):
            name = str(hdu.header.get("EXTNAME", "")).strip()
            name = "" if name.upper() in _UNNAMED else name
            version = int(hdu.header.get("EXTVER", 1) or 1)
            units.append(ImageUnit(index, _role(hdu.header, settings), name, version, shape))
    return units


def _role(header: Any, settings: Settings) -> str:
    for card in settings.role_cards:
        value = header.get(card)
        if isinstance(value, str) and value.strip().upper() not in _UNNAMED:
            role = _named_role(value.strip(), settings.roles)
            if role is not None:
                return role
    return "image"


def _named_role(name: str, roles: Mapping[str, Sequence[re.Pattern[str]]]) -> str | None:
    for role, patterns in roles.items():
        if any(pattern.fullmatch(name) for pattern in patterns):
            return role
    return None


def own_planes(image: ImageUnit, units: Sequence[ImageUnit]) -> dict[str, ImageUnit]:
    """Role -> the HDU of the same file that belongs to an image: of several the one of the same
    EXTVER, else the one between this image and the next. Another shape is no partner."""
    later = [u.index for u in units if u.role == "image" and u.index > image.index]
    end = min(later, default=len(units) + max(u.index for u in units) + 1)
    alone = sum(u.role == "image" for u in units) == 1
    partners: dict[str, ImageUnit] = {}
    for role in ("variance", "weight", "stddev", "mask"):
        fitting = [u for u in units if u.role == role and u.shape == image.shape]
        ordered = sorted(
            fitting,
            key=lambda u: (u.version != image.version, not image.index < u.index < end, u.index),
        )
        if ordered and (
            alone or ordered[0].version == image.version or image.index < ordered[0].index < end
        ):
            partners[role] = ordered[0]
    return partners


def partner_in(image: ImageUnit, others: Sequence[ImageUnit]) -> ImageUnit | None:
    """The HDU of a companion file that belongs to an image: by name, by place, or the only one."""
    fitting = [u for u in others if u.plane_shape == image.plane_shape and len(u.shape) == 2]
    for same in (
        [u for u in fitting if image.name and (u.name, u.version) == (image.name, image.version)],
        [u for u in fitting if u.index == image.index],
        fitting if len(fitting) == 1 else [],
    ):
        if same:
            return same[0]
    return None


PlaneRole = Literal["image", "variance", "weight", "stddev", "mask"]


def plane_of(image: ImageUnit, path: str, role: str) -> PlaneRef:
    """A reference to a plane. Leading axes of length one are indexed away; a true cube has no
    plane of its own, so reading it as an image is refused later."""
    leading = image.shape[:-2]
    planes = tuple(0 for _ in leading) if all(n == 1 for n in leading) else ()
    return PlaneRef(path=path, hdu=image.index, role=cast(PlaneRole, role), planes=planes)


def is_cube(image: ImageUnit) -> bool:
    """Whether there is more than one plane."""
    return any(n != 1 for n in image.shape[:-2])


def sky_axes_last(header: Any, ndim: int) -> tuple[int, int]:
    """The numpy axes (y, x) that carry the sky. Raises ImageFormatError."""
    first, second = find_sky_axes(header)
    if second > ndim:
        raise ImageFormatError("", "the celestial axes are not axes of the pixel array")
    return ndim - second, ndim - first

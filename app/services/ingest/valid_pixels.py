"""Which pixels of an image hold data, as far as its footprint needs to know."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.pixels.image import bits
from app.services.ingest.hdus import ImageUnit, sky_axes_last
from app.stores.fits_files import is_tiled, read_plane, require_complete
from app.stores.mask_planes import remap_bits, remap_codes

Valid = NDArray[np.bool_]
MAX_CUBE_BYTES = 2**29
"""A cube of more bytes is taken as valid throughout."""


def find_valid(hdulist: Any, image: ImageUnit, size_bytes: int) -> Valid | None:
    """True where a pixel is finite (in any plane of a cube); None when the border is all finite,
    or when the pixels cannot be NaN. Raises ImageFormatError when the pixels cannot be read."""
    require_complete(hdulist, image.index, size_bytes)
    hdu = hdulist[image.index]
    if not _may_be_nan(hdu) and not _is_packed(hdulist, image.index):
        return None
    if len(image.shape) > 2:
        return _valid_of_cube(hdu, image)
    data = read_plane(hdulist, image.index)
    return None if all(np.isfinite(s).all() for s in _sides(data)) else np.isfinite(data)


def find_data_flagged(
    hdulist: Any,
    mask: ImageUnit,
    size_bytes: int,
    planes: tuple[tuple[str, int], ...],
    codes: tuple[tuple[int, str], ...],
) -> Valid | None:
    """True where a mask HDU does not say NO_DATA; None when its border is all data."""
    require_complete(hdulist, mask.index, size_bytes)
    no_data = tuple(p for p in planes if p[0] == "NO_DATA")
    if not no_data and not any(name == "NO_DATA" for _, name in codes):
        return None
    stored = read_plane(hdulist, mask.index)

    def has_data(values: NDArray[Any]) -> Valid:
        flags = remap_bits(values, no_data) if no_data else remap_codes(values, codes)
        valid: Valid = (flags & bits("NO_DATA")) == 0
        return valid

    return None if all(has_data(side).all() for side in _sides(stored)) else has_data(stored)


def _may_be_nan(hdu: Any) -> bool:
    bitpix = hdu.header.get("ZBITPIX", hdu.header.get("BITPIX", -32))
    return int(bitpix) < 0 or "BLANK" in hdu.header


def _is_packed(hdulist: Any, index: int) -> bool:
    """Whether only unpacking shows if the pixels are whole."""
    info = hdulist[index].fileinfo()
    return is_tiled(hdulist[index]) or bool(info and getattr(info["file"], "compression", None))


def _valid_of_cube(hdu: Any, image: ImageUnit) -> Valid | None:
    if int(np.prod(image.shape)) * 4 > MAX_CUBE_BYTES:
        return None
    axes = sky_axes_last(hdu.header, len(image.shape))
    finite = np.isfinite(np.moveaxis(np.asarray(hdu.data), axes, (-2, -1)))
    valid: Valid = finite.reshape(-1, *finite.shape[-2:]).any(axis=0)
    return None if all(side.all() for side in _sides(valid)) else valid


def _sides(plane: NDArray[Any]) -> tuple[NDArray[Any], ...]:
    return plane[0], plane[-1], plane[:, 0], plane[:, -1]

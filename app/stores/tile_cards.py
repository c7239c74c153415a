"""Cards of tile-compressed images (FITS 4.0, section 10.1) that astropy's decompressors believe
without a look: with wrong ones they read memory that is not theirs, or never end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from app.errors import ImageFormatError

_RICE: Final = frozenset({"RICE_1", "RICE_ONE"})
_RICE_BYTES: Final = (1, 2, 4)
"""For any other number astropy 7 takes more bytes than were decompressed from behind their end."""
_MOST_SETTINGS: Final = 999


def require_sound_tiles(header: Mapping[str, Any]) -> None:
    """Refuse the header of the table that holds a compressed image when its pixels cannot be read.

    Raises ImageFormatError.
    """
    for axis in range(1, int(header["ZNAXIS"]) + 1):
        size = header.get(f"ZTILE{axis}", 1)
        if not _is_whole(size) or size < 1:
            raise ImageFormatError("", f"damaged: ZTILE{axis} is {size}")
    if str(header["ZCMPTYPE"]).strip() in _RICE:
        size = _setting(header, "BYTEPIX", 4)
        if not _is_whole(size) or size not in _RICE_BYTES:
            raise ImageFormatError("", f"tiles of {size} bytes for each pixel cannot be read")


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _setting(header: Mapping[str, Any], name: str, default: int) -> Any:
    for number in range(1, _MOST_SETTINGS + 1):
        if f"ZNAME{number}" not in header:
            break
        if str(header[f"ZNAME{number}"]).upper() == name:  # as astropy looks for them
            return header[f"ZVAL{number}"]
    return default

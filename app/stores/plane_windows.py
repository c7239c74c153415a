"""Windows of the planes of an image, scaled as their headers say: the values that astropy gives,
without opening the file anew or reading its headers again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from app.errors import ImageFormatError
from app.recipes.recipe import PlaneRef
from app.stores.fits_files import Bounds
from app.stores.plane_files import PlaneFiles, StoredUnit

_UNSIGNED: Final = {("i2", 2.0**15): "u2", ("i4", 2.0**31): "u4", ("i8", 2.0**63): "u8"}
"""How FITS writes unsigned numbers (4.0, section 4.4.2.5): by BZERO."""
_SHORT_BYTES: Final = 2
"""Whole numbers of so many bytes are scaled in single precision, as astropy does."""


class PlaneWindows:
    """Reads the part ``bounds`` (half-open y0, y1, x0, x1) of planes."""

    def __init__(self, *, files: PlaneFiles, bounds: Bounds) -> None:
        self._files = files
        self._bounds = bounds

    def read(self, plane: PlaneRef) -> NDArray[Any]:
        """Values (ny, nx) of a plane, free to be changed. Raises ImageFormatError."""
        unit = self._files.find(plane.path, plane.hdu)
        y0, y1, x0, x1 = self._bounds
        sizes: Sequence[int] = unit.shape[-2:]
        if len(unit.shape) != len(plane.planes) + 2 or y1 > sizes[0] or x1 > sizes[1]:
            reason = f"its {plane.role} plane has the shape {unit.shape}"
            raise ImageFormatError(unit.name, reason)
        window = (*((each, each + 1) for each in plane.planes), (y0, y1), (x0, x1))
        stored = np.frombuffer(b"".join(self._files.read(unit, window)), unit.dtype)
        return _scaled(stored.reshape(y1 - y0, x1 - x0), unit)


def _scaled(stored: NDArray[Any], unit: StoredUnit) -> NDArray[Any]:
    """The values that stored ones stand for."""
    header, native = unit.header, stored.dtype.newbyteorder("=")
    scale, zero = float(header.get("BSCALE", 1.0)), float(header.get("BZERO", 0.0))
    whole = native.kind in "iu"
    blank = header.get("BLANK") if whole else None
    if (scale, zero) == (1.0, 0.0) and blank is None:
        return stored.astype(native)
    unsigned = _UNSIGNED.get((native.str[1:], zero))
    if scale == 1.0 and unsigned is not None and blank is None:
        values: NDArray[Any] = stored.astype(unsigned)
        values += values.dtype.type(zero)
        return values
    working = native
    if whole:
        working = np.dtype(np.float32 if native.itemsize <= _SHORT_BYTES else np.float64)
    values = stored.astype(working)
    if scale != 1.0:
        values *= working.type(scale)
    if zero != 0.0:
        values += working.type(zero)
    if blank is not None:
        values[stored == blank] = np.nan
    return values

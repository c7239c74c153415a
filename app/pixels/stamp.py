"""A square of pixels about a place, cut out of an image that may end within it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from app.pixels.grid import Grid
from app.pixels.image import MaskedImage, bits

Bounds = tuple[int, int, int, int]
"""Half-open (y0, y1, x0, x1)."""

_ABSENT: Final = bits("NO_DATA")


@dataclass(frozen=True, slots=True)
class StampWindow:
    """The pixels of a stamp on an image, beyond whose edges ``bounds`` may reach; ``x`` and ``y``:
    the place, in 0-based pixels of the image."""

    bounds: Bounds
    x: float
    y: float

    def inside(self, shape: tuple[int, int]) -> Bounds:
        """The part on the image; of no pixels where that ends before."""
        y0, y1, x0, x1 = self.bounds
        ny, nx = shape
        y0, x0 = min(max(y0, 0), ny), min(max(x0, 0), nx)
        return y0, max(y0, min(y1, ny)), x0, max(x0, min(x1, nx))


def stamp_window(grid: Grid, lon_deg: float, lat_deg: float, side_px: int) -> StampWindow | None:
    """The square of ``side_px`` whose middle is as near to a direction as whole pixels allow, the
    same that astropy's Cutout2D takes; None where the projection does not reach."""
    x, y = (float(each) for each in grid.sky_to_pixel(lon_deg, lat_deg))
    if not math.isfinite(x + y):
        return None
    y0, x0 = math.ceil(y - side_px / 2), math.ceil(x - side_px / 2)
    return StampWindow((y0, y0 + side_px, x0, x0 + side_px), x, y)


def padded(image: MaskedImage, inside: Bounds, bounds: Bounds) -> MaskedImage:
    """``image``, the pixels ``inside``, on all of ``bounds``: NaN and NO_DATA around it."""
    if inside == bounds:
        return image
    frame = (
        (inside[0] - bounds[0], bounds[1] - inside[1]),
        (inside[2] - bounds[2], bounds[3] - inside[3]),
    )
    flux, variance = (
        np.pad(plane, frame, constant_values=np.nan) for plane in (image.flux, image.variance)
    )
    return replace(
        image,
        flux=flux,
        variance=variance,
        mask=np.pad(image.mask, frame, constant_values=_ABSENT),
    )


def empty_stamp(side_px: int) -> MaskedImage:
    """A stamp without any data."""
    shape = side_px, side_px
    nothing = np.full(shape, np.nan, dtype=np.float32)
    return MaskedImage(nothing, nothing.copy(), np.full(shape, _ABSENT, dtype=np.int32))


def subtracted_template(science: MaskedImage, difference: MaskedImage) -> MaskedImage:
    """What was subtracted, by both: their difference. Its noise is not known from theirs, which
    they share; the mask is that of the difference."""
    flux = science.flux - difference.flux
    mask = np.where(np.isnan(flux), difference.mask | np.int32(_ABSENT), difference.mask)
    return MaskedImage(flux, np.full_like(flux, np.nan), mask)

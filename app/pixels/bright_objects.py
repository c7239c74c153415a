"""Discs about bright objects, marked in a mask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from app.pixels.grid import Grid
from app.pixels.image import MaskedImage, bits

Disc = tuple[float, float, float]
"""Longitude and latitude of the middle (ICRS) and radius, all in degrees."""


def mark_bright_objects(image: MaskedImage, grid: Grid, discs: Sequence[Disc]) -> MaskedImage:
    """``image`` on ``grid`` with BRIGHT_OBJECT set at the pixels whose middle is in a disc.

    Radii are counted in pixels of the grid's middle. Values stay, as in Rubin's AssembleCoadd
    (setBrightObjectMasks).
    """
    if not discs:
        return image
    mask = image.mask.copy()
    lon, lat, radius = np.array(discs, dtype=np.float64).T
    x, y = grid.sky_to_pixel(lon, lat)
    reach = radius * 3600.0 / grid.pixel_scale_arcsec
    for place in np.flatnonzero(np.isfinite(x) & np.isfinite(y)):
        _mark_disc(mask, float(x[place]), float(y[place]), float(reach[place]))
    return replace(image, mask=mask)


def _mark_disc(mask: NDArray[np.int32], x: float, y: float, r: float) -> None:
    ny, nx = mask.shape
    y0, y1 = max(0, int(np.ceil(y - r))), min(ny, int(np.floor(y + r)) + 1)
    x0, x1 = max(0, int(np.ceil(x - r))), min(nx, int(np.floor(x + r)) + 1)
    if y0 < y1 and x0 < x1:
        v, u = np.ogrid[y0:y1, x0:x1]
        mask[y0:y1, x0:x1][(u - x) ** 2 + (v - y) ** 2 <= r * r] |= bits("BRIGHT_OBJECT")

"""Discs and boxes about bright objects (:mod:`app.pixels.bright_shapes`), marked in a mask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from app.pixels.bright_shapes import BrightObject, Floats
from app.pixels.grid import Grid, unit_vectors
from app.pixels.image import MaskedImage, bits


def mark_bright_objects(
    image: MaskedImage, grid: Grid, objects: Sequence[BrightObject]
) -> MaskedImage:
    """``image`` on ``grid`` with BRIGHT_OBJECT set at the pixels whose middle is in one of them.

    Pixels are laid on the sky as they lie about the middle of an object. Values stay, as in Rubin's
    AssembleCoadd (setBrightObjectMasks).
    """
    if not objects:
        return image
    mask = image.mask.copy()
    for each, place, matrix in zip(objects, *_on_pixels(grid, objects), strict=True):
        if np.isfinite(place).all() and np.isfinite(matrix).all():
            _mark(mask, each, place, matrix)
    return replace(image, mask=mask)


def _on_pixels(grid: Grid, objects: Sequence[BrightObject]) -> tuple[Floats, Floats]:
    """The x, y (n, 2) of the middles, and pixels for each degree: (n, 2, 2), x and y down, east
    and north across."""
    lon, lat = np.array([(each.lon_deg, each.lat_deg) for each in objects]).T
    middle = unit_vectors(lon, lat)
    a, d = np.radians(lon), np.radians(lat)
    east = np.stack([-np.sin(a), np.cos(a), np.zeros(a.size)], axis=-1)
    north = np.stack([-np.sin(d) * np.cos(a), -np.sin(d) * np.sin(a), np.cos(d)], axis=-1)
    step = np.radians(grid.pixel_scale_arcsec / 3600.0)
    ahead, behind = (
        [_pixels(grid, middle + sign * step * along) for along in (east, north)]
        for sign in (1.0, -1.0)
    )
    columns = [(b - a) / (2.0 * np.degrees(step)) for a, b in zip(behind, ahead, strict=True)]
    return _pixels(grid, middle), np.stack(columns, axis=-1)


def _pixels(grid: Grid, vectors: Floats) -> Floats:
    x, y, z = vectors.T
    lon, lat = np.degrees(np.arctan2(y, x)), np.degrees(np.arctan2(z, np.hypot(x, y)))
    return np.stack(grid.sky_to_pixel(lon, lat), axis=-1)


def _mark(mask: NDArray[np.int32], each: BrightObject, place: Floats, matrix: Floats) -> None:
    half_x, half_y = each.reach_deg * np.hypot(matrix[:, 0], matrix[:, 1])
    (x, y), (ny, nx) = place, mask.shape
    y0, y1 = max(0, int(np.ceil(y - half_y))), min(ny, int(np.floor(y + half_y)) + 1)
    x0, x1 = max(0, int(np.ceil(x - half_x))), min(nx, int(np.floor(x + half_x)) + 1)
    if y0 < y1 and x0 < x1:
        v, u = np.ogrid[y0:y1, x0:x1]
        (a, b), (c, d) = np.linalg.inv(matrix)
        held = each.holds(a * (u - x) + b * (v - y), c * (u - x) + d * (v - y))
        mask[y0:y1, x0:x1][held] |= bits("BRIGHT_OBJECT")

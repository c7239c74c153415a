"""Discs and boxes about bright objects, marked in a mask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from app.pixels.grid import Grid, unit_vectors
from app.pixels.image import MaskedImage, bits

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Disc:
    """All within ``radius_deg`` of a direction (ICRS, deg)."""

    lon_deg: float
    lat_deg: float
    radius_deg: float

    @property
    def reach_deg(self) -> float:
        """How far it goes from its middle."""
        return self.radius_deg

    def holds(self, east: Floats, north: Floats) -> NDArray[np.bool_]:
        """Whether offsets (deg) from its middle are in it."""
        inside: NDArray[np.bool_] = east**2 + north**2 <= self.radius_deg**2
        return inside


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle about a direction (ICRS, deg), whose height runs north and whose width runs east
    when ``angle_deg`` is 0; the angle turns it from north through east (counter-clockwise where
    east is to the left), as that of DS9's box."""

    lon_deg: float
    lat_deg: float
    width_deg: float
    height_deg: float
    angle_deg: float = 0.0

    @property
    def reach_deg(self) -> float:
        """How far it goes from its middle."""
        return float(np.hypot(self.width_deg, self.height_deg) / 2.0)

    def holds(self, east: Floats, north: Floats) -> NDArray[np.bool_]:
        """Whether offsets (deg) from its middle are in it."""
        cos, sin = np.cos(np.radians(self.angle_deg)), np.sin(np.radians(self.angle_deg))
        along_width, along_height = east * cos - north * sin, east * sin + north * cos
        inside: NDArray[np.bool_] = (np.abs(along_width) <= self.width_deg / 2.0) & (
            np.abs(along_height) <= self.height_deg / 2.0
        )
        return inside


BrightObject = Disc | Box


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

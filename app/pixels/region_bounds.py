"""Which pixels of an image a region of the sky touches: the smallest box that holds them.

What of a region lies on an image is bounded by the region's own boundary, as far as it lies on the
image, and by the edge of the image, as far as it lies in the region. Both are followed: the first
as a fine polyline in pixels, cut at the edge; of the second, which is straight, the corners are
enough.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from app.pixels.grid import Grid, unit_vectors
from app.sky.areas import prepare
from app.sky.boundaries import sample_boundary
from app.sky.shapes import Region

Floats = NDArray[np.float64]
Bounds = tuple[int, int, int, int]
"""Half-open (y0, y1, x0, x1)."""

CHORD_PX: Final = 0.02
"""How far chords may lie from the boundary."""
TOUCH_PX: Final = 1e-4
"""A region that reaches less far into a pixel does not touch it: it ends at the pixel's edge."""
LATTICE: Final = 65
"""Places along each axis of an image that the sky does not fill."""


def find_bounds(grid: Grid, region: Region) -> Bounds | None:
    """The box of the pixels of ``grid`` that have a place in common with ``region``; None if there
    is no such pixel.

    Where the projection has no sky at a corner of the image (maps of the whole sky) the box may be
    larger, by a sixty-fourth of the image on each side.
    """
    places = [*_along_boundary(grid, region), *_within_region(grid, region)]
    if not places:
        return None
    x, y = np.concatenate(places, axis=1)
    ny, nx = grid.shape
    return (*_touched(y, ny), *_touched(x, nx))


def _touched(place: Floats, size: int) -> tuple[int, int]:
    """First pixel, and the one after the last, that ``place`` (from -0.5 to size - 0.5) spans."""
    low, high = float(place.min()) + 0.5, float(place.max()) + 0.5
    first = min(int(np.floor(low + TOUCH_PX)), size - 1)
    return first, max(min(int(np.ceil(high - TOUCH_PX)), size), first + 1)


def _along_boundary(grid: Grid, region: Region) -> Iterator[Floats]:
    """(2, n): x and y of the ends of what of the boundary lies on the image, and all between."""
    for lon, lat in sample_boundary(region, CHORD_PX * grid.pixel_scale_arcsec / 3600.0):
        points = np.array(grid.sky_to_pixel(lon, lat))
        inside = _clip(points[:, :-1], points[:, 1:], grid.shape)
        if inside.size:
            yield inside


def _clip(start: Floats, stop: Floats, shape: tuple[int, int]) -> Floats:
    """The ends (2, 2 n) of those parts of segments that lie on the image (Liang & Barsky 1984, ACM
    Trans. Graph. 3, 1)."""
    step = stop - start
    ny, nx = shape
    size = np.array([[nx], [ny]])
    enter, leave = np.zeros(start.shape[1]), np.ones(start.shape[1])
    with np.errstate(divide="ignore", invalid="ignore"):
        at_low, at_high = (-0.5 - start) / step, (size - 0.5 - start) / step
    for axis in (0, 1):
        still = step[axis] == 0.0
        low, high = np.minimum(at_low, at_high)[axis], np.maximum(at_low, at_high)[axis]
        off = still & ~((start[axis] >= -0.5) & (start[axis] <= size[axis] - 0.5))
        enter = np.where(still, enter, np.maximum(enter, low))
        leave = np.where(off, -1.0, np.where(still, leave, np.minimum(leave, high)))
    kept = np.isfinite(step).all(axis=0) & (enter <= leave)
    begin, end, along = start[:, kept], enter[kept], step[:, kept]
    return np.concatenate([begin + end * along, begin + leave[kept] * along], axis=1)


def _within_region(grid: Grid, region: Region) -> Iterator[Floats]:
    """(2, n): places of the image that lie in the region."""
    contains = prepare(region).contains
    places, vectors, half = _places(grid)
    inside = np.array([contains(tuple(vector)) for vector in vectors.tolist()], dtype=np.bool_)
    found = places[:, inside]
    if found.size:
        ny, nx = grid.shape
        for sign in (-1.0, 1.0) if half.any() else (0.0,):
            yield np.clip(found + sign * half, -0.5, [[nx - 0.5], [ny - 0.5]])


@lru_cache(maxsize=512)
def _places(grid: Grid) -> tuple[Floats, Floats, Floats]:
    """Places (2, n), the directions there (n, 3), and how far each place stands for others (2, 1).

    They are the corners, or a lattice where one of them is not on the sky.
    """
    ny, nx = grid.shape
    for count in (2, LATTICE):
        across, up = np.linspace(-0.5, nx - 0.5, count), np.linspace(-0.5, ny - 0.5, count)
        x, y = (each.ravel() for each in np.meshgrid(across, up))
        vectors = unit_vectors(*grid.pixel_to_sky(x, y))
        known = np.isfinite(vectors).all(axis=1)
        if known.all():
            break
    half = np.zeros((2, 1)) if count == 2 else np.array([[nx], [ny]]) / (LATTICE - 1)
    return np.array([x, y])[:, known], vectors[known], half

"""Where the pixels of an image lie on the sky, in as few numbers as a reader in a browser needs:
directions at the nodes of a coarse lattice, between which vectors are interpolated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from app.pixels.grid import Grid, unit_vectors

Floats = NDArray[np.float64]

TOLERANCE_PX: Final = 0.05
_FEWEST: Final = 4
_MOST: Final = 64
_BETWEEN: Final = ((0.5, 0.5), (0.5, 0.0), (0.0, 0.5), (0.25, 0.75))
"""Places in a cell where the error is looked at: it is largest about the middle."""


@dataclass(frozen=True, slots=True)
class SkyNodes:
    """``lon`` and ``lat`` (deg, rows first) at the pixels ``x`` and ``y`` (0-based); NaN beyond the
    projection. ``error_px``: how far an interpolated direction was off at most, in pixels of the
    middle of the image."""

    x: Floats
    y: Floats
    lon: Floats
    lat: Floats
    error_px: float

    def at(self, x: Floats, y: Floats) -> Floats:
        """Unit vectors (n, 3): the mean of those of the four nodes around, by their distances."""
        vectors = unit_vectors(self.lon, self.lat)
        i, u = _cell(self.x, x)
        j, v = _cell(self.y, y)
        u, v = u[:, None], v[:, None]
        low = (1 - u) * vectors[j, i] + u * vectors[j, i + 1]
        high = (1 - u) * vectors[j + 1, i] + u * vectors[j + 1, i + 1]
        mixed = (1 - v) * low + v * high
        return np.asarray(mixed / np.linalg.norm(mixed, axis=1, keepdims=True))


def find_nodes(grid: Grid) -> SkyNodes:
    """As many nodes as bring the error below ``TOLERANCE_PX``, 65 along an axis at most."""
    cells = _FEWEST
    while True:
        nodes = _nodes(grid, cells)
        if nodes.error_px <= TOLERANCE_PX or cells >= _MOST:
            return nodes
        cells *= 2


def _nodes(grid: Grid, cells: int) -> SkyNodes:
    """Over all pixels, their outer edges included."""
    ny, nx = grid.shape
    x, y = np.linspace(-0.5, nx - 0.5, cells + 1), np.linspace(-0.5, ny - 0.5, cells + 1)
    lon, lat = grid.pixel_to_sky(*np.meshgrid(x, y))
    return SkyNodes(x, y, lon, lat, _error_px(grid, SkyNodes(x, y, lon, lat, 0.0)))


def _error_px(grid: Grid, nodes: SkyNodes) -> float:
    worst = 0.0
    for u, v in _BETWEEN:
        px = nodes.x[:-1] + u * np.diff(nodes.x)
        py = nodes.y[:-1] + v * np.diff(nodes.y)
        x, y = (each.ravel() for each in np.meshgrid(px, py))
        off = nodes.at(x, y) - unit_vectors(*grid.pixel_to_sky(x, y))
        angle = np.linalg.norm(off, axis=1)
        if np.isfinite(angle).any():
            worst = max(worst, float(np.nanmax(angle)))
    return float(np.degrees(worst) * 3600.0 / grid.pixel_scale_arcsec)


def _cell(nodes: Floats, places: Floats) -> tuple[NDArray[np.intp], Floats]:
    """The node before each place, and how far on the way to the next one it lies."""
    step = nodes[1] - nodes[0]
    index = np.clip(((places - nodes[0]) // step).astype(np.intp), 0, len(nodes) - 2)
    return index, (places - nodes[index]) / step

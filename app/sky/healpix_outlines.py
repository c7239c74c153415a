"""Outlines of HEALPix cells (Górski et al. 2005, ApJ 622, 759; nested numbers)."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Cells = NDArray[np.int64]

_ROWS: Final = np.array([2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4])
_TURNS: Final = np.array([1, 3, 5, 7, 0, 2, 4, 6, 1, 3, 5, 7])
"""Of the twelve faces: where their southern corners lie, in quarters of a half turn."""
_BEND: Final = 3
"""Sides of cells of this order and finer are great circles to within a hundredth of the cell."""


def outline_cells(order: int, cells: Cells) -> tuple[Floats, Floats]:
    """Longitudes and latitudes (deg) along the outlines, (n, points), clockwise from the southern
    corner on a map with east on the right; of large cells also between the corners."""
    face, x, y = _places(order, cells)
    steps = np.arange(1 << max(0, _BEND - order)) / (1 << max(0, _BEND - order))
    still, back = np.zeros_like(steps), 1.0 - steps
    # from south to west, north, east and back: x runs to the north-east, y to the north-west
    right = np.concatenate([still, steps, still + 1.0, back])
    left = np.concatenate([steps, still + 1.0, back, still])
    side = 1 << order
    return _directions(face[:, None], (x[:, None] + right) / side, (y[:, None] + left) / side)


def _places(order: int, cells: Cells) -> tuple[Cells, Cells, Cells]:
    """Face, and column and row in it: the even and the odd bits of the number there."""
    face, inner = np.divmod(cells, np.int64(1) << (2 * order))
    x, y = np.zeros_like(cells), np.zeros_like(cells)
    for bit in range(order):
        x |= ((inner >> (2 * bit)) & 1) << bit
        y |= ((inner >> (2 * bit + 1)) & 1) << bit
    return face, x, y


def _directions(face: Cells, x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Of places (0 to 1) on faces: about the poles rings shrink, between them they are alike."""
    row = _ROWS[face] - x - y
    ring = np.clip(np.minimum(row, 4.0 - row), 0.0, 1.0)
    cap = np.sign(2.0 - row) * (1.0 - ring**2 / 3.0)
    z = np.where(ring < 1.0, cap, (2.0 - row) * 2.0 / 3.0)
    turn = _TURNS[face] * ring + x - y
    lon = np.divide(45.0 * turn, ring, out=np.zeros_like(turn), where=ring > 1e-12) % 360.0
    return lon, np.degrees(np.arcsin(np.clip(z, -1.0, 1.0)))

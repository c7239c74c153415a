"""Grids that are windows of one lattice of pixels, as the patches of a tract are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from app.pixels.grid import Grid
from app.pixels.mapping import TOLERANCE_PX

_SAMPLES = 5


def offset_px(grid: Grid, reference: Grid) -> tuple[int, int] | None:
    """(y, x) in ``reference`` of the first pixel of ``grid``; None when their pixels differ.

    Pixels are the same when all of them lie a whole number of pixels apart to within
    ``TOLERANCE_PX``; the two need not overlap.
    """
    ny, nx = grid.shape
    x, y = np.meshgrid(np.linspace(0.0, nx - 1.0, _SAMPLES), np.linspace(0.0, ny - 1.0, _SAMPLES))
    there_x, there_y = reference.sky_to_pixel(*grid.pixel_to_sky(x, y))
    dy, dx = there_y - y, there_x - x
    if not (np.isfinite(dy).all() and np.isfinite(dx).all()):
        return None
    whole = round(float(np.median(dy))), round(float(np.median(dx)))
    worst = max(np.abs(dy - whole[0]).max(), np.abs(dx - whole[1]).max())
    return whole if worst < TOLERANCE_PX else None


def group_by_lattice(grids: Sequence[Grid]) -> list[list[tuple[int, tuple[int, int]]]]:
    """The grids in groups of one lattice: (index, offset in the group's first grid) of each."""
    groups: list[list[tuple[int, tuple[int, int]]]] = []
    for index, grid in enumerate(grids):
        for group in groups:
            offset = offset_px(grid, grids[group[0][0]])
            if offset is not None:
                group.append((index, offset))
                break
        else:
            groups.append([(index, (0, 0))])
    return groups

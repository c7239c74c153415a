"""Where an input lies on the target: the box and the outline of its usable pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from app.pixels.grid import Grid
from app.pixels.mask_runs import MaskRuns
from app.pixels.outline import fill_between
from app.pixels.warped import Bounds
from app.sky.stcs import format_region


@dataclass(frozen=True, slots=True)
class Coverage:
    """``pixels`` usable ones within ``bounds``; ``region`` (STC-S) is the outline of their largest
    part, gaps within it filled, such as bad columns leave."""

    bounds: Bounds
    pixels: int
    region: str


def coverage_of(runs: MaskRuns, window: Bounds, target: Grid) -> Coverage:
    """What an exposure whose mask is ``runs`` on the ``window`` covers of ``target``; it needs a
    usable pixel."""
    y_start, y_stop, x_start, x_stop = window
    *ends, count = runs.extent(x_stop - x_start)
    rows, columns = np.flatnonzero(ends[1] >= 0), np.flatnonzero(ends[3] >= 0)
    ny, nx = target.shape
    left, right = np.full((2, ny), -1, dtype=np.int32)
    low, high = np.full((2, nx), -1, dtype=np.int32)
    left[y_start:y_stop][rows], right[y_start:y_stop][rows] = (
        ends[n][rows] + x_start for n in (0, 1)
    )
    low[x_start:x_stop][columns], high[x_start:x_stop][columns] = (
        ends[n][columns] + y_start for n in (2, 3)
    )
    return Coverage(
        bounds=(
            int(rows[0]) + y_start,
            int(rows[-1]) + 1 + y_start,
            int(columns[0]) + x_start,
            int(columns[-1]) + 1 + x_start,
        ),
        pixels=count,
        region=format_region(target.footprint(fill_between(left, right, low, high))),
    )

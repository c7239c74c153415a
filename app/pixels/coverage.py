"""Where an input lies on the target: the box and the outline of its usable pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from app.pixels.grid import Grid
from app.pixels.outline import fill_gaps
from app.pixels.warp import Window
from app.pixels.warped import Bounds
from app.sky.stcs import format_region


@dataclass(frozen=True, slots=True)
class Coverage:
    """``pixels`` usable ones within ``bounds``; ``region`` (STC-S) is the outline of their largest
    part, gaps within it filled, such as bad columns leave."""

    bounds: Bounds
    pixels: int
    region: str


def coverage_of(window: Window, target: Grid) -> Coverage:
    """What ``window`` covers of ``target``; it needs a usable pixel."""
    y_start, y_stop, x_start, x_stop = window.bounds
    usable = np.zeros(target.shape, dtype=np.bool_)
    usable[y_start:y_stop, x_start:x_stop] = window.image.usable()
    columns, rows = np.flatnonzero(usable.any(axis=0)), np.flatnonzero(usable.any(axis=1))
    return Coverage(
        bounds=(int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1),
        pixels=int(np.count_nonzero(usable)),
        region=format_region(target.footprint(fill_gaps(usable))),
    )

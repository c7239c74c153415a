"""Whether images lie on the pixels of another one, so that nothing has to be resampled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from app.errors import RecipeError
from app.pixels.grid import Grid
from app.recipes.select import Candidate

TOLERANCE_PX: Final = 0.01
PLACES: Final = 3
"""Along each axis, at which positions are compared."""


def refuse_warping(inputs: Sequence[Candidate], science: Candidate) -> None:
    """Raise RecipeError that names the first of ``inputs`` that is not on the pixels of ``science``
    already, and tells how it differs: its pixels lie elsewhere, or it does not hold all of them."""
    here = Grid.from_text(science.ref.grid)
    for each in inputs:
        difference = describe_difference(Grid.from_text(each.ref.grid), here)
        if difference is not None:
            raise RecipeError(
                f"with WARP_TEMPLATE=false {each.dataset_id} is not on the pixels of "
                f"{science.dataset_id}: {difference}"
            )


def describe_difference(grid: Grid, target: Grid) -> str | None:
    """How the pixels of ``grid`` differ from those of ``target``; None when they are the same or,
    a whole number of pixels off, hold all of them."""
    ny, nx = target.shape
    y, x = np.meshgrid(*(np.linspace(0, size - 1, PLACES) for size in (ny, nx)), indexing="ij")
    there_x, there_y = grid.sky_to_pixel(*target.pixel_to_sky(x, y))
    apart_x, apart_y = there_x - x, there_y - y
    if not (np.isfinite(apart_x) & np.isfinite(apart_y)).all():
        return "its WCS does not reach all of that image"
    left, low = (round(float(np.median(apart))) for apart in (apart_x, apart_y))
    worst = float(np.hypot(apart_x - left, apart_y - low).max())
    if worst > TOLERANCE_PX:
        return f"its WCS puts pixels up to {worst:.2f} px beside whole ones of that image"
    if low < 0 or left < 0 or low + ny > grid.shape[0] or left + nx > grid.shape[1]:
        return (
            f"its {grid.shape[1]} x {grid.shape[0]} pixels begin at x = {-left}, y = {-low} and do "
            f"not hold all {nx} x {ny} of that image"
        )
    return None

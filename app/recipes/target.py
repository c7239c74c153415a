"""The pixels a template is made on: a patch of the sky map, cut to what its inputs can fill."""

from __future__ import annotations

from collections.abc import Iterable

from app.errors import CoverageError, RecipeError
from app.pixels.grid import Grid
from app.pixels.mapping import overlap_bounds
from app.sky.predicates import centroid, contains_region, distance_deg
from app.sky.shapes import Point, Shape
from app.sky.skymap import Patch, SkyMap

Bounds = tuple[int, int, int, int]


def choose_patch(skymap: SkyMap, position: Shape) -> Patch:
    """The patch whose inner box holds the position (of a region: its centroid).

    Tracts overlap: the tract whose centre is nearest is taken. Raises RecipeError for a region
    that reaches beyond the patch.
    """
    point = position if isinstance(position, Point) else centroid(position)
    held = [patch for patch in skymap.find_patches(point) if _inner_holds(patch, point)]
    if not held:
        raise RecipeError(f"no patch of the sky map holds {point.lon_deg} {point.lat_deg}")
    patch = min(held, key=lambda p: (distance_deg(_tract_centre(p), point), p.tract, p.patch))
    if not isinstance(position, Point) and not contains_region(patch.outline, position):
        raise RecipeError(
            f"the region of POS reaches beyond patch {patch.patch} of tract {patch.tract}; "
            "ask for a smaller region, patch by patch"
        )
    return patch


def patch_grid(patch: Patch) -> Grid:
    """All pixels of a patch, its border included."""
    return Grid(patch.header, patch.shape)


def cut_to_inputs(grid: Grid, inputs: Iterable[Grid]) -> Grid:
    """The smallest window of ``grid`` that holds every pixel an input can reach.

    The place of the window in its parent stays in LTV1/LTV2 and the alternate WCS "A". Raises
    CoverageError when no input reaches the grid.
    """
    reached = [b for b in (overlap_bounds(each, grid) for each in inputs) if b is not None]
    if not reached:
        raise CoverageError("images that reach the target pixels", 0, 1)
    lows, highs = list(zip(*reached, strict=True))[::2], list(zip(*reached, strict=True))[1::2]
    y_start, x_start = (min(low) for low in lows)
    y_stop, x_stop = (max(high) for high in highs)
    return cut(grid, (y_start, y_stop, x_start, x_stop))


def cut(grid: Grid, bounds: Bounds) -> Grid:
    """The window (y_start, y_stop, x_start, x_stop) of ``grid``, half-open and 0-based."""
    y_start, y_stop, x_start, x_stop = bounds
    if (y_start, x_start) == (0, 0) and (y_stop, x_stop) == grid.shape:
        return grid
    header = grid.fits_header()
    for axis, start in ((1, x_start), (2, y_start)):
        header[f"CRPIX{axis}"] -= start
        if f"LTV{axis}" in header:
            header[f"LTV{axis}"] -= start
        if f"CRVAL{axis}A" in header:
            header[f"CRVAL{axis}A"] += start
    text = header.tostring(sep="\n", endcard=False, padding=False)
    return Grid(
        "\n".join(line.rstrip() for line in text.split("\n")), (y_stop - y_start, x_stop - x_start)
    )


def _inner_holds(patch: Patch, point: Point) -> bool:
    x, y = (float(v) for v in patch_grid(patch).sky_to_pixel(point.lon_deg, point.lat_deg))
    tract_x, tract_y = x + patch.outer.x_min, y + patch.outer.y_min
    inner = patch.inner
    return (
        inner.x_min - 0.5 <= tract_x < inner.x_max - 0.5
        and inner.y_min - 0.5 <= tract_y < inner.y_max - 0.5
    )


def _tract_centre(patch: Patch) -> Point:
    header = patch_grid(patch).fits_header()
    return Point(float(header["CRVAL1"]), float(header["CRVAL2"]))

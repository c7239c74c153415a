"""The pixels a template is made on: a patch of the sky map, cut to what its inputs can fill."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from app.errors import CoverageError, RecipeError
from app.pixels.grid import Grid
from app.pixels.mapping import overlap_bounds
from app.recipes.recipe import PatchNumber, Recipe
from app.sky.predicates import centroid, contains_region
from app.sky.shapes import Point, Shape
from app.sky.skymap import SkyMap
from app.sky.tracts import Patch

Bounds = tuple[int, int, int, int]

MOST_NAMED: Final = 5


def choose_patch(skymap: SkyMap, position: Shape) -> Patch:
    """The patch that the position (of a region: its centroid) belongs to.

    Raises RecipeError for a region that reaches beyond it, LimitError for one that is larger than
    the sky map is searched for.
    """
    point = position if isinstance(position, Point) else centroid(position)
    patch = skymap.locate(point)
    if not isinstance(position, Point) and not contains_region(patch.outline, position):
        there = name_patches([(each.tract, each.patch) for each in skymap.find_patches(position)])
        raise RecipeError(
            f"the region of POS reaches beyond patch {patch.patch} of tract {patch.tract}; "
            f"ask patch by patch: {there}"
        )
    return patch


def name_patches(patches: Sequence[PatchNumber]) -> str:
    """The first of them, as they are asked for, and how many more there are."""
    named = ", ".join(f"TRACT={tract} PATCH={patch}" for tract, patch in patches[:MOST_NAMED])
    more = len(patches) - MOST_NAMED
    return f"{named} and {more} more" if more > 0 else named


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


def template_grid(recipe: Recipe) -> Grid:
    """The pixels that the template of a recipe is made on: those of the product, and of a
    difference a border around them, whose pixels the matching kernel reaches."""
    grid = Grid.from_text(recipe.grid)
    return grid if recipe.difference is None else grown(grid, recipe.difference.border_px)


def grown(grid: Grid, border_px: int) -> Grid:
    """``grid`` with so many pixels more on each side."""
    ny, nx = grid.shape
    return cut(grid, (-border_px, ny + border_px, -border_px, nx + border_px))


def cut(grid: Grid, bounds: Bounds) -> Grid:
    """The window (y_start, y_stop, x_start, x_stop) of ``grid``, half-open and 0-based.

    It may reach beyond the grid, whose projection goes on there.
    """
    y_start, y_stop, x_start, x_stop = bounds
    if (y_start, x_start) == (0, 0) and (y_stop, x_stop) == grid.shape:
        return grid
    header = grid.fits_header()
    for axis, start in ((1, x_start), (2, y_start)):
        header[f"CRPIX{axis}"] = header.get(f"CRPIX{axis}", 0.0) - start
        header[f"LTV{axis}"] = header.get(f"LTV{axis}", 0.0) - start
        for key in (f"CRVAL{axis}A", f"CNPIX{axis}"):  # CNPIX: photographic plates have no CRPIX
            if key in header:
                header[key] += start
    text = header.tostring(sep="\n", endcard=False, padding=False)
    return Grid(
        "\n".join(line.rstrip() for line in text.split("\n")), (y_stop - y_start, x_stop - x_start)
    )

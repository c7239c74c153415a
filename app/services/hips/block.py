"""One block of a survey: its images read where they touch it, resampled, added up, cut into tiles.

Runs in worker processes, each of which holds one block and a part of one image at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.errors import CoverageError, ImageFormatError, RemoteUnavailableError
from app.pixels.background import sky_level
from app.pixels.bands import limit_threads
from app.pixels.grid import Grid
from app.pixels.healpix_grid import HealpixGrid, pixel_scale_arcsec
from app.pixels.hips import TILE_PX, WeightedSum, halved, place_of
from app.pixels.mapping import PartGrid, overlap_bounds
from app.pixels.warp import warp_window
from app.pixels.warped import Bounds, input_weight
from app.recipes.photometry import flux_factor
from app.recipes.recipe import ImageRef
from app.stores.hips_files import HipsFolder, Tile
from app.stores.images import ImageStore
from app.stores.remote.files import RemoteFiles

_MARGIN_PX = 8
"""Around what a block sees of an image: half a stencil, and what positions may be off."""

Plane = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Level:
    """Of a whole image: the sky that is taken off it, and its weight (inverse variance). Without
    usable pixels the weight is 0."""

    sky: float
    weight: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockTask:
    """A block to make: the images that touch it (as text) with their levels. ``digest`` is that of
    what it is made of, empty when images are missing."""

    data_dir: Path
    remote: RemoteFiles | None
    folder: Path
    block: Tile
    order: int
    finest: int
    zero_point_mag: float | None
    unit: str
    digest: str
    images: tuple[tuple[str, Level], ...]
    threads: int


def measure(data_dir: Path, remote: RemoteFiles | None, threads: int, text: str) -> Level | str:
    """The level of an image; a text tells what is wrong with it."""
    ref = ImageRef.from_text(text)
    try:
        with limit_threads(threads):
            image = ImageStore(data_dir=data_dir, remote=remote).read(ref)
            return Level(sky_level(image).mean, input_weight(image))
    except CoverageError:
        return Level(0.0, 0.0)
    except (ImageFormatError, RemoteUnavailableError) as fault:
        return f"{ref.dataset_id}: {fault}"


def make_block(task: BlockTask) -> list[str]:
    """Write the tiles of a block, of all orders from its own to the survey's, and what was wrong
    with images; tiles that are none any more go. A block with faults is made again next time."""
    folder = HipsFolder(task.folder)
    folder.forget(task.block)
    with limit_threads(task.threads):
        pixels, faults = _stacked(task)
    for _ in range(task.finest - task.order):
        pixels = halved(pixels)
    for order in range(task.order, task.block.order - 1, -1):
        _write_tiles(folder, task, order, pixels)
        pixels = halved(pixels)
    if task.digest and not faults:
        folder.write_note(task.block, task.digest)
    return faults


def _stacked(task: BlockTask) -> tuple[Plane, list[str]]:
    """The pixels of a block, and what was wrong with images."""
    width = TILE_PX << (task.finest - task.block.order)
    grid = HealpixGrid(task.block.order, task.block.number, width)
    images = ImageStore(data_dir=task.data_dir, remote=task.remote)
    total, faults = WeightedSum(grid.shape), []
    for text, level in task.images:
        ref = ImageRef.from_text(text)
        if level.weight == 0.0:
            continue
        try:
            _add(total, images, ref, level, grid, flux_factor(ref, task.zero_point_mag))
        except (ImageFormatError, RemoteUnavailableError) as fault:
            faults.append(f"{ref.dataset_id}: {fault}")
    area = pixel_scale_arcsec(task.block.order, width) ** 2
    return total.mean(area), faults


def _add(
    total: WeightedSum,
    images: ImageStore,
    ref: ImageRef,
    level: Level,
    block: HealpixGrid,
    scale: float,
) -> None:
    source = Grid.from_text(ref.grid)
    seen = overlap_bounds(block, source)
    if seen is None:
        return
    bounds = _wider(seen, source.shape)
    window = warp_window(
        images.read(ref, bounds), PartGrid(source, bounds), block, sky=level.sky, scale=scale
    )
    if window is not None:
        total.add(window, level.weight / scale**2)


def _wider(bounds: Bounds, shape: tuple[int, int]) -> Bounds:
    y_start, y_stop, x_start, x_stop = bounds
    return (
        max(0, y_start - _MARGIN_PX),
        min(shape[0], y_stop + _MARGIN_PX),
        max(0, x_start - _MARGIN_PX),
        min(shape[1], x_stop + _MARGIN_PX),
    )


def _write_tiles(folder: HipsFolder, task: BlockTask, order: int, pixels: Plane) -> None:
    """The tiles of an order that have data."""
    depth = order - task.block.order
    for number in range(1 << (2 * depth)):
        row, column = (TILE_PX * each for each in place_of(number, depth))
        part = pixels[row : row + TILE_PX, column : column + TILE_PX]
        tile = Tile(order, (task.block.number << (2 * depth)) + number)
        if np.isnan(part).all():
            folder.remove([tile])
        else:
            folder.write_tile(tile, part, task.unit)

"""Pictures of a survey: one stretch for all of it, so that tiles have no seams."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from app.pixels.hips import halved
from app.pixels.painted import TONES
from app.pixels.preview import Brightness, find_brightness
from app.stores.hips_files import HipsFolder, Tile, grey_png

SAMPLED_TILES: Final = 64
CUTS: Final = "hips_pixel_cut"
UNIT_OF_CUTS: Final = "hips_pixel_unit"
SOFTENING: Final = "skyloom_softening"
_EVERY: Final = 4
_ALLSKY_PX: Final = 64

Plane = NDArray[np.float32]


def brightness_of(properties: Mapping[str, str], unit: str) -> Brightness | None:
    """How the pictures of a survey were drawn before, if they were and pixels were in ``unit``."""
    if properties.get(UNIT_OF_CUTS) != unit:
        return None
    words = f"{properties.get(CUTS, '')} {properties.get(SOFTENING, '')}".split()
    try:
        low, high, softening = map(float, words)
    except ValueError:
        return None
    return Brightness((low, high), softening)


def as_properties(light: Brightness, unit: str) -> dict[str, str]:
    """What :func:`brightness_of` reads."""
    low, high = light.limits
    return {
        CUTS: f"{low:.9g} {high:.9g}",
        UNIT_OF_CUTS: unit,
        SOFTENING: f"{light.softening:.9g}",
    }


def find_brightness_of(folder: HipsFolder, tiles: Sequence[Tile]) -> Brightness:
    """By IRAF's zscale, and the brightest pixels, of some of the finest tiles."""
    chosen = tiles[:: max(1, len(tiles) // SAMPLED_TILES)]
    found = [folder.read_tile(tile) for tile in chosen]
    values = np.concatenate(
        [each[::_EVERY, ::_EVERY].ravel() for each in found if each is not None]
    )
    known = values[np.isfinite(values)].astype(np.float64)
    return find_brightness(known if known.size else np.zeros(1), "asinh")


def draw(folder: HipsFolder, tile: Tile, light: Brightness) -> None:
    """The picture of a tile."""
    pixels = folder.read_tile(tile)
    if pixels is not None:
        folder.write_picture(tile, picture(pixels, light))


def picture(pixels: Plane, light: Brightness) -> bytes:
    """PNG of pixels, transparent where there are none."""
    known = np.isfinite(pixels)
    low, high = light.limits
    share = (np.where(known, pixels, low) - low) / (high - low)
    steps = (np.clip(share, 0.0, 1.0) * (TONES - 1)).astype(np.int32)
    return grey_png(light.tones()[steps], known)


def draw_all(data: tuple[Path, Sequence[Tile], Brightness]) -> int:
    """The pictures of some tiles; how many. Runs in worker processes."""
    path, tiles, light = data
    folder = HipsFolder(path)
    for tile in tiles:
        draw(folder, tile, light)
    return len(tiles)


def write_allsky(folder: HipsFolder, order: int, tiles: Sequence[Tile], light: Brightness) -> None:
    """HiPS 1.0, section 4.3.2: every tile of an order, 64 pixels wide, row by row."""
    count = 12 * 4**order
    columns = int(count**0.5)
    rows = -(-count // columns)
    whole = np.full((rows * _ALLSKY_PX, columns * _ALLSKY_PX), np.nan, np.float32)
    for tile in tiles:
        pixels = folder.read_tile(tile)
        if pixels is None:
            continue
        while len(pixels) > _ALLSKY_PX:
            pixels = halved(pixels)
        row, column = divmod(tile.number, columns)
        low = (rows - 1 - row) * _ALLSKY_PX
        start = column * _ALLSKY_PX
        whole[low : low + _ALLSKY_PX, start : start + _ALLSKY_PX] = pixels
    folder.write_allsky(order, whole, picture(whole, light))

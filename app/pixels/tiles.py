"""An image as tiles of colours, on levels of ever larger pixels: what a viewer asks for part by
part while somebody looks around in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from app.pixels.colour_maps import COLOUR_MAPS
from app.pixels.image import bits
from app.pixels.painted import TONES, paint_binned
from app.pixels.picture import ASINH, STRETCHES, Scale, Stretch, find_limits
from app.pixels.preview import (
    BAND_ROWS,
    MASK_COLOURS,
    NO_DATA_COLOUR,
    Brightness,
    Light,
    find_brightness,
    sample_light,
)

Bytes = NDArray[np.uint8]
Bounds = tuple[int, int, int, int]
"""Half-open (y0, y1, x0, x1), pixels of the image, y up."""

TILE_PX: Final = 512


class LightWindow(Protocol):
    """Reads a part of an image."""

    def __call__(
        self, start: int, stop: int, *, columns: tuple[int, int] = ..., masked: bool = True
    ) -> Light:
        """Flux and mask of the rows ``start <= y < stop`` of some columns (first, end), of all
        unless told; the mask is 0 unless it is wanted."""


@dataclass(frozen=True, slots=True)
class Pyramid:
    """The levels of an image of ``shape`` (ny, nx): the last one has its pixels, each one before
    it squares of twice the side, until all fits into one tile on level 0.

    Tiles are counted from the upper left corner of the picture, which is the end of the image's
    first column; so are the squares, of which those at the right and below may be cut.
    """

    shape: tuple[int, int]

    @property
    def levels(self) -> int:
        """How many there are."""
        return (-(-max(self.shape) // TILE_PX) - 1).bit_length() + 1

    def step(self, level: int) -> int:
        """The side (px) of the squares of a level."""
        return 1 << (self.levels - 1 - level)

    def size(self, level: int) -> tuple[int, int]:
        """(rows, columns) of squares."""
        ny, nx = self.shape
        return -(-ny // self.step(level)), -(-nx // self.step(level))

    def tiles(self, level: int) -> tuple[int, int]:
        """(rows, columns) of tiles."""
        rows, columns = self.size(level)
        return -(-rows // TILE_PX), -(-columns // TILE_PX)

    def window(self, level: int, row: int, column: int) -> Bounds:
        """The pixels that go into a tile."""
        (ny, nx), side = self.shape, TILE_PX * self.step(level)
        return (
            max(0, ny - (row + 1) * side),
            ny - row * side,
            column * side,
            min(nx, (column + 1) * side),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TileStyle:
    """How values become colours. What is None is as in the image's preview; limits with ``limits``
    (black, white), else as ``scale`` finds them on the whole image."""

    stretch: Stretch | None = None
    scale: Scale | float | None = None
    limits: tuple[float, float] | None = None
    colours: str = "grey"
    mask_overlay: bool = False


def find_display(
    read: LightWindow, shape: tuple[int, int], style: TileStyle, *, is_difference: bool
) -> Brightness:
    """The limits that all tiles of an image share, from the pixels that its preview takes them
    from; for "minmax" all are read, in bands."""
    softening = None if is_difference else ASINH
    if style.limits is not None:
        return Brightness(style.limits, softening)
    if style.scale == "minmax":
        return Brightness(_extremes(read, shape), softening)
    sample = sample_light(read, shape)
    if style.scale is None:
        return find_brightness(sample, "symmetric" if is_difference else "asinh")
    return Brightness(find_limits(sample, style.scale), softening)


def _extremes(read: LightWindow, shape: tuple[int, int]) -> tuple[float, float]:
    """Of all finite values; 0 and 1 where there is none."""
    low, high = np.inf, -np.inf
    for start in range(0, shape[0], BAND_ROWS):
        flux, _ = read(start, min(start + BAND_ROWS, shape[0]), masked=False)
        low = min(low, float(flux.min(initial=np.inf, where=np.isfinite(flux))))
        high = max(high, float(flux.max(initial=-np.inf, where=np.isfinite(flux))))
    return (low, high) if low <= high else (0.0, 1.0)


def make_tones(display: Brightness, style: TileStyle) -> Bytes:
    """(TONES, 3): the colours between black and white."""
    if style.stretch is None:
        levels = display.tones()
    else:
        levels = (255 * STRETCHES[style.stretch](np.linspace(0.0, 1.0, TONES))).astype(np.uint8)
    return COLOUR_MAPS[style.colours][levels]


def paint_tile(
    read: LightWindow, window: Bounds, step: int, display: Brightness, style: TileStyle
) -> Bytes:
    """The colours (rows, columns, 3) of a part of an image, the uppermost row first: of each square
    the mean of those of its pixels. Some rows at a time are held."""
    y0, y1, x0, x1 = window
    tones = make_tones(display, style)
    band = step * max(1, BAND_ROWS * TILE_PX // (x1 - x0))
    painted = []
    for top in range(y1, y0, -band):
        low = max(y0, top - band)
        flux, mask = read(low, top, columns=(x0, x1), masked=style.mask_overlay)
        upright = np.ascontiguousarray(flux[::-1]), np.ascontiguousarray(mask[::-1])
        painted.append(_paint(upright, display.limits, tones, step, style))
    return np.concatenate(painted)


def _paint(
    light: Light, limits: tuple[float, float], tones: Bytes, step: int, style: TileStyle
) -> Bytes:
    """Grey at one go; of colours each primary by itself, with its own tones."""
    overlay = [(bits(name), colour) for name, colour in MASK_COLOURS if style.mask_overlay]
    paint = partial(
        paint_binned, *light, limits, no_data=NO_DATA_COLOUR, overlay=overlay, step=step
    )
    if style.colours == "grey":
        return paint(np.ascontiguousarray(tones[:, 0]))
    primaries: Sequence[Bytes] = [
        paint(np.ascontiguousarray(tones[:, primary]))[..., primary] for primary in range(3)
    ]
    return np.stack(primaries, axis=-1)

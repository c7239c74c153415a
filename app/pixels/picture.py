"""A picture of pixels as a user asks for it: limits, stretch, colours, marks; PNG or JPEG."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from astropy.visualization import ZScaleInterval
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from app.pixels.colour_maps import paint
from app.pixels.grid import Grid
from app.pixels.preview import NO_DATA_COLOUR, Frame, draw_target
from app.sky.shapes import Point

Floats = NDArray[np.float64]
Stretch = Literal["linear", "sqrt", "log", "asinh"]
Scale = Literal["zscale", "minmax", "symmetric"]
PictureFormat = Literal["png", "jpeg"]

SAMPLE: Final = 250_000
"""Pixels that limits are found from."""
JPEG_QUALITY: Final = 90
_LOG: Final = 1000.0
ASINH: Final = 0.1
"""Softening, as astropy's LogStretch and AsinhStretch have it."""

STRETCHES: Final[Mapping[Stretch, Callable[[Floats], Floats]]] = {
    "linear": lambda x: x,
    "sqrt": np.sqrt,
    "log": lambda x: np.log1p(_LOG * x) / np.log1p(_LOG),
    "asinh": lambda x: np.arcsinh(x / ASINH) / np.arcsinh(1 / ASINH),
}
SCALES: Final[tuple[Scale, ...]] = ("zscale", "minmax", "symmetric")


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureOptions:
    """How values become light. ``limits`` (black, white) in the values' unit, else as ``scale``
    finds them: IRAF's zscale, the extremes, five standard deviations on both sides of zero, or the
    central share (percent) of the values. Scale and stretch are chosen by the image where they are
    None."""

    form: PictureFormat = "png"
    limits: tuple[float, float] | None = None
    scale: Scale | float | None = None
    stretch: Stretch | None = None
    colours: str = "grey"
    markers: tuple[Point, ...] = ()
    side_px: int | None = None
    """Of the longer side; None: one pixel for each."""


def draw_picture(values: Floats, grid: Grid, options: PictureOptions) -> bytes:
    """The picture of ``values`` (ny, nx), the first row below; what is not finite has a colour of
    its own. ``grid`` is that of the pixels, of which one value may stand for several."""
    picture = paint_picture(values, grid.shape, options)
    frame = Frame(picture.width / grid.shape[1], picture.height)
    for marker in options.markers:
        draw_target(ImageDraw.Draw(picture), grid, marker, frame)
    out = io.BytesIO()
    picture.save(out, format=options.form.upper(), quality=JPEG_QUALITY)
    return out.getvalue()


def paint_picture(values: Floats, shape: tuple[int, int], options: PictureOptions) -> Image.Image:
    """The same without marks, of an image of ``shape`` pixels."""
    low, high = options.limits or find_limits(values, options.scale or "zscale")
    with np.errstate(invalid="ignore"):
        scaled = np.clip((values - low) / ((high - low) or 1.0), 0.0, 1.0)
    known = np.isfinite(values)
    rgb = paint(
        np.where(known, STRETCHES[options.stretch or "asinh"](scaled), 0.0), options.colours
    )
    rgb[~known] = NO_DATA_COLOUR
    picture = Image.fromarray(np.ascontiguousarray(rgb[::-1]))
    width, height = _size(shape, options.side_px or max(values.shape))
    shrinks = width < picture.width
    resampling = Image.Resampling.BOX if shrinks else Image.Resampling.NEAREST
    return picture.resize((width, height), resampling)


def find_limits(values: Floats, scale: Scale | float) -> tuple[float, float]:
    """The values that become black and white; 0 and 1 where none is finite."""
    step = max(1, -(-values.size // SAMPLE))
    sample = values.ravel()[::step]
    sample = sample[np.isfinite(sample)]
    if sample.size == 0:
        return 0.0, 1.0
    if scale == "zscale":
        low, high = ZScaleInterval().get_limits(sample)
    elif scale == "minmax":
        low, high = np.nanmin(values), np.nanmax(values)
    elif scale == "symmetric":
        high = 5 * 1.4826 * np.median(np.abs(sample - np.median(sample)))
        low = -high
    else:
        half = (100.0 - float(scale)) / 2
        low, high = np.percentile(sample, [half, 100 - half])
    return float(low), float(high)


def _size(shape: tuple[int, int], side_px: int) -> tuple[int, int]:
    """Width and height."""
    ny, nx = shape
    zoom = side_px / max(nx, ny)
    return max(1, round(nx * zoom)), max(1, round(ny * zoom))

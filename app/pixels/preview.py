"""A picture of an image for people: stretch, orientation, marks; PNG bytes."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Final, Literal, Protocol

import numpy as np
from astropy.visualization import ZScaleInterval
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from app.pixels.grid import Grid
from app.pixels.image import UNUSABLE, bits
from app.pixels.painted import TONES, Colour, paint_binned
from app.sky.shapes import Point, Polygon

Light = tuple[NDArray[np.float32], NDArray[np.int32]]
"""Flux and mask of some rows."""
Stretch = Literal["asinh", "symmetric"]

NO_DATA_COLOUR: Final[Colour] = (38, 44, 62)
TARGET_COLOUR: Final[Colour] = (255, 196, 61)
FOOTPRINT_COLOUR: Final[Colour] = (86, 204, 242)
COMPASS_COLOUR: Final[Colour] = (255, 255, 255)
MASK_COLOURS: Final[tuple[tuple[str, Colour], ...]] = (
    ("DETECTED", (70, 120, 255)),
    ("DETECTED_NEGATIVE", (70, 220, 255)),
    ("SAT", (40, 200, 90)),
    ("SAT_TEMPLATE", (40, 200, 90)),
    ("CR", (255, 70, 200)),
    ("CLIPPED", (255, 150, 40)),
    ("REJECTED", (255, 150, 40)),
    ("BRIGHT_OBJECT", (120, 90, 160)),
    ("HIGH_VARIANCE", (190, 160, 60)),
    ("EDGE", (150, 150, 150)),
    ("BAD", (235, 50, 50)),
    ("NO_DATA", (90, 96, 120)),
)
"""Later planes are painted over earlier ones."""

SAMPLE_PIXELS: Final = 250_000
SAMPLE_BANDS: Final = 16
SAMPLE_ROWS: Final = 16
"""What tells the limits: so many pixels of so many bands of so many rows."""
BAND_ROWS: Final = 256
"""Held at a time, and painted by several threads."""
PNG_LEVEL: Final = 1
"""Noise does not get smaller by more effort."""
_ASINH_SOFTENING: Final = 0.08
_SCALE_BARS_ARCSEC: Final = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600, 7200)


class LightRows(Protocol):
    """Reads rows of an image."""

    def __call__(self, start: int, stop: int, *, masked: bool = True) -> Light:
        """The rows ``start <= y < stop``; the mask is 0 unless it is wanted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviewOptions:
    """What the picture shows. ``side_px`` is the length of its longer side."""

    side_px: int = 900
    stretch: Stretch = "asinh"
    target: Point | None = None
    footprint: Polygon | None = None
    mask_overlay: bool = False
    compass: bool = True
    """North and east arrows and a scale bar; small pictures have no room for them."""


@dataclass(frozen=True, slots=True)
class Brightness:
    """The values that become black and white; between them asinh with ``softening`` in parts of
    their distance, or linear without."""

    limits: tuple[float, float]
    softening: float | None

    def tones(self) -> NDArray[np.uint8]:
        """The grey levels between the limits."""
        scaled = np.linspace(0.0, 1.0, TONES)
        if self.softening is not None:
            scaled = np.arcsinh(scaled / self.softening) / math.asinh(1 / self.softening)
        return (255 * scaled).astype(np.uint8)


@dataclass(frozen=True, slots=True)
class Frame:
    """From pixels of the image (0-based, y up) to pixels of the picture (y down)."""

    zoom: float
    height_px: int

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Of a position on the image, that on the picture."""
        return (x + 0.5) * self.zoom, self.height_px - (y + 0.5) * self.zoom


def render_preview(read: LightRows, grid: Grid, options: PreviewOptions) -> bytes:
    """PNG of an image: first row at the bottom, north and east arrows, a scale bar.

    Light is stretched by asinh between the limits of IRAF's zscale, or linearly about zero for
    differences ("symmetric"). Pixels without data have a colour of their own. The target is
    circled and the footprint drawn when they are given. Some rows at a time are held.
    """
    light = find_brightness(sample_light(read, grid.shape), options.stretch)
    limits, tones = light.limits, light.tones()
    step = picture_step(grid.shape, options.side_px)
    overlay = [(bits(name), colour) for name, colour in MASK_COLOURS if options.mask_overlay]
    painted = [
        paint_binned(flux, mask, limits, tones, no_data=NO_DATA_COLOUR, overlay=overlay, step=step)
        for flux, mask in _bands(
            partial(read, masked=options.mask_overlay),
            grid.shape[0],
            step * max(1, BAND_ROWS // step),
        )
    ]
    return finish_picture(np.concatenate(painted), step, grid, options)


def _bands(read: Callable[[int, int], Light], ny: int, rows: int) -> Iterator[Light]:
    """All rows, the next band being read while one is painted."""
    starts = range(0, ny, rows)
    with ThreadPoolExecutor(1) as ahead:
        waiting = ahead.submit(read, 0, min(rows, ny))
        for start in starts[1:]:
            light = waiting.result()
            waiting = ahead.submit(read, start, min(start + rows, ny))
            yield light
        yield waiting.result()


def picture_step(shape: tuple[int, ...], side_px: int) -> int:
    """The side of squares of which two or more, along each axis, go into a pixel of the picture:
    what is less would be seen as places that are shifted."""
    return max(1, max(shape) // (2 * side_px))


def finish_picture(rgb: NDArray[np.uint8], step: int, grid: Grid, options: PreviewOptions) -> bytes:
    """PNG, with marks, of colours (rows, columns, 3) of squares of ``step`` pixels of ``grid``."""
    ny, nx = grid.shape
    zoom = options.side_px / max(nx, ny)
    size = max(1, round(nx * zoom)), max(1, round(ny * zoom))
    picture = Image.fromarray(np.ascontiguousarray(rgb[::-1]))
    resampling = Image.Resampling.BOX if zoom < 1 else Image.Resampling.NEAREST
    whole = (0.0, rgb.shape[0] - ny / step, nx / step, float(rgb.shape[0]))
    picture = picture.resize(size, resampling, box=whole)
    _draw_marks(picture, grid, options, Frame(zoom, size[1]))
    out = io.BytesIO()
    picture.save(out, format="PNG", compress_level=PNG_LEVEL)
    return out.getvalue()


def sample_light(read: LightRows, shape: tuple[int, int]) -> NDArray[np.float64]:
    """Values of usable pixels of some bands, of every n-th column; all when none is usable."""
    ny, nx = shape
    whole = ny <= SAMPLE_BANDS * SAMPLE_ROWS
    starts = [0] if whole else [ny * band // SAMPLE_BANDS for band in range(SAMPLE_BANDS)]
    bands = [read(start, ny if whole else start + SAMPLE_ROWS) for start in starts]
    rows = sum(len(flux) for flux, _ in bands)
    every = np.s_[:, :: max(1, rows * nx // SAMPLE_PIXELS)]
    values = np.concatenate([flux[every] for flux, _ in bands]).astype(np.float64)
    masks = np.concatenate([mask[every] for _, mask in bands])
    good = np.isfinite(values) & (masks & UNUSABLE == 0)
    return values[good] if good.any() else np.nan_to_num(values.ravel(), posinf=0.0, neginf=0.0)


def find_brightness(sample: NDArray[np.float64], stretch: Stretch) -> Brightness:
    """How the pixels that ``sample`` was taken from are shown."""
    if stretch == "symmetric":
        limit = 5 * 1.4826 * float(np.median(np.abs(sample - np.median(sample)))) or 1.0
        return Brightness((-limit, limit), None)
    low, high = (float(each) for each in ZScaleInterval(n_samples=2000).get_limits(sample))
    span = (high - low) or 1.0
    top = max(1.0, (float(np.percentile(sample, 99.9)) - low) / span)
    return Brightness((low, low + span * top), _ASINH_SOFTENING / math.sqrt(top))


def _draw_marks(picture: Image.Image, grid: Grid, options: PreviewOptions, frame: Frame) -> None:
    draw = ImageDraw.Draw(picture)
    if options.footprint is not None:
        _draw_footprint(draw, grid, options.footprint, frame)
    if options.target is not None:
        draw_target(draw, grid, options.target, frame)
    if options.compass:
        _draw_compass(draw, picture.size, grid)
        _draw_scale_bar(draw, picture.size, grid.pixel_scale_arcsec / frame.zoom)


def _draw_footprint(
    draw: ImageDraw.ImageDraw, grid: Grid, footprint: Polygon, frame: Frame
) -> None:
    lon, lat = np.array((*footprint.vertices, footprint.vertices[0])).T
    x, y = grid.sky_to_pixel(lon, lat)
    places = [frame.place(px, py) for px, py in zip(x, y, strict=True) if math.isfinite(px + py)]
    if len(places) > 1:
        draw.line(places, fill=FOOTPRINT_COLOUR, width=2)


def draw_target(draw: ImageDraw.ImageDraw, grid: Grid, target: Point, frame: Frame) -> None:
    """A circle about a direction; nothing where the image does not reach."""
    x, y = (float(c) for c in grid.sky_to_pixel(target.lon_deg, target.lat_deg))
    if not math.isfinite(x + y):
        return
    px, py = frame.place(x, y)
    radius = max(20.0, 9 * frame.zoom)
    box = (px - radius, py - radius, px + radius, py + radius)
    draw.ellipse(box, outline=(0, 0, 0), width=5)
    draw.ellipse(box, outline=TARGET_COLOUR, width=3)


def _draw_compass(draw: ImageDraw.ImageDraw, size: tuple[int, int], grid: Grid) -> None:
    """In the upper right corner of a picture."""
    length = max(24.0, 0.06 * max(size))
    draw_compass(draw, (size[0] - 1.9 * length, 1.9 * length), length, grid)


def draw_compass(
    draw: ImageDraw.ImageDraw, centre: tuple[float, float], length: float, grid: Grid
) -> None:
    """Arrows to the north and to the east, as they are at the centre of the image."""
    font = ImageFont.load_default(max(12, round(0.3 * length)))
    for name, (dx, dy) in zip("NE", sky_directions(grid), strict=True):
        tip = centre[0] + dx * length, centre[1] - dy * length
        for width, colour in ((5, (0, 0, 0)), (2, COMPASS_COLOUR)):
            draw.line((*centre, *tip), fill=colour, width=width)
            for turn in (2.6, -2.6):
                bx = dx * math.cos(turn) - dy * math.sin(turn)
                by = dx * math.sin(turn) + dy * math.cos(turn)
                barb = tip[0] + bx * length / 4, tip[1] - by * length / 4
                draw.line((*tip, *barb), fill=colour, width=width)
        label = centre[0] + 1.35 * dx * length, centre[1] - 1.35 * dy * length
        draw.text(
            label,
            name,
            fill=COMPASS_COLOUR,
            font=font,
            anchor="mm",
            stroke_width=2,
            stroke_fill=(0, 0, 0),
        )


def sky_directions(grid: Grid) -> tuple[tuple[float, float], tuple[float, float]]:
    """Unit vectors (x, y) in pixels to the north and to the east at the centre of a grid."""
    ny, nx = grid.shape
    x0, y0 = (nx - 1) / 2, (ny - 1) / 2
    lon, lat = (float(c) for c in grid.pixel_to_sky(x0, y0))
    step_deg = 2 * grid.pixel_scale_arcsec / 3600
    sign = -1.0 if lat + step_deg > 90 else 1.0
    east_lon = (lon + step_deg / max(math.cos(math.radians(lat)), 1e-6)) % 360
    north = [
        sign * (float(c) - o)
        for c, o in zip(grid.sky_to_pixel(lon, lat + sign * step_deg), (x0, y0), strict=True)
    ]
    east = [float(c) - o for c, o in zip(grid.sky_to_pixel(east_lon, lat), (x0, y0), strict=True)]
    return _unit(north), _unit(east)


def _unit(vector: list[float]) -> tuple[float, float]:
    length = math.hypot(*vector)
    return (vector[0] / length, vector[1] / length) if length > 0 else (0.0, 0.0)


def _draw_scale_bar(draw: ImageDraw.ImageDraw, size: tuple[int, int], arcsec_per_px: float) -> None:
    fitting = [b for b in _SCALE_BARS_ARCSEC if b / arcsec_per_px <= 0.25 * size[0]]
    bar_arcsec = fitting[-1] if fitting else _SCALE_BARS_ARCSEC[0]
    length = bar_arcsec / arcsec_per_px
    margin = 0.03 * max(size)
    y = size[1] - margin
    for width, colour in ((6, (0, 0, 0)), (3, COMPASS_COLOUR)):
        draw.line((margin, y, margin + length, y), fill=colour, width=width)
    label = f'{bar_arcsec}"' if bar_arcsec < 60 else f"{bar_arcsec / 60:g}'"
    font = ImageFont.load_default(max(12, round(0.018 * max(size))))
    draw.text(
        (margin + length / 2, y - 6),
        label,
        fill=COMPASS_COLOUR,
        font=font,
        anchor="mb",
        stroke_width=2,
        stroke_fill=(0, 0, 0),
    )

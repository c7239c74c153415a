"""A picture of an image for people: stretch, orientation, marks; PNG bytes."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from astropy.visualization import ZScaleInterval
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from app.pixels.grid import Grid
from app.pixels.image import MaskedImage, bits
from app.sky.shapes import Point, Polygon

Stretch = Literal["asinh", "symmetric"]
Colour = tuple[int, int, int]

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

_ASINH_SOFTENING: Final = 0.08
_SCALE_BARS_ARCSEC: Final = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600, 7200)


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
class Frame:
    """From pixels of the image (0-based, y up) to pixels of the picture (y down)."""

    zoom: float
    height_px: int

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Of a position on the image, that on the picture."""
        return (x + 0.5) * self.zoom, self.height_px - (y + 0.5) * self.zoom


def render_preview(image: MaskedImage, grid: Grid, options: PreviewOptions) -> bytes:
    """PNG of an image: first row at the bottom, north and east arrows, a scale bar.

    Light is stretched by asinh between the limits of IRAF's zscale, or linearly about zero for
    differences ("symmetric"). Pixels without data have a colour of their own. The target is
    circled and the footprint drawn when they are given.
    """
    grey = _stretch(image, options.stretch)
    rgb = np.repeat((255 * grey).astype(np.uint8)[..., None], 3, axis=2)
    rgb[~np.isfinite(image.flux)] = NO_DATA_COLOUR
    if options.mask_overlay:
        rgb = _paint_mask(rgb, image.mask)
    ny, nx = image.shape
    zoom = options.side_px / max(nx, ny)
    size = max(1, round(nx * zoom)), max(1, round(ny * zoom))
    picture = Image.fromarray(np.ascontiguousarray(rgb[::-1]))
    resampling = Image.Resampling.BOX if zoom < 1 else Image.Resampling.NEAREST
    picture = picture.resize(size, resampling)
    _draw_marks(picture, grid, options, Frame(zoom, size[1]))
    out = io.BytesIO()
    picture.save(out, format="PNG", optimize=True)
    return out.getvalue()


def _stretch(image: MaskedImage, stretch: Stretch) -> NDArray[np.float64]:
    """Brightness in [0, 1]; 0 where there is no data."""
    flux = np.nan_to_num(np.asarray(image.flux, np.float64), posinf=0.0, neginf=0.0)
    good = image.usable()
    sample = flux[good] if good.any() else flux.ravel()
    if stretch == "symmetric":
        limit = 5 * 1.4826 * float(np.median(np.abs(sample - np.median(sample)))) or 1.0
        return np.clip(0.5 + 0.5 * flux / limit, 0.0, 1.0)
    low, high = ZScaleInterval(n_samples=2000).get_limits(sample)
    span = float(high - low) or 1.0
    top = max(1.0, (float(np.percentile(sample, 99.9)) - low) / span)
    scaled = np.clip((flux - low) / span / top, 0.0, 1.0)
    softening = _ASINH_SOFTENING / math.sqrt(top)
    bright: NDArray[np.float64] = np.arcsinh(scaled / softening) / math.asinh(1 / softening)
    return bright


def _paint_mask(rgb: NDArray[np.uint8], mask: NDArray[np.int32]) -> NDArray[np.uint8]:
    """Mix the planes' colours half and half with the picture."""
    painted = rgb.astype(np.float32)
    for name, colour in MASK_COLOURS:
        where = (mask & bits(name)) != 0
        painted[where] = 0.5 * rgb[where] + 0.5 * np.array(colour, np.float32)
    return painted.astype(np.uint8)


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
    """Arrows to the north and to the east, as they are at the centre of the image."""
    length = max(24.0, 0.06 * max(size))
    centre = size[0] - 1.9 * length, 1.9 * length
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

"""Small drawings made of lines, marks and words, as SVG or PNG."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from typing import Final, Literal

from PIL import Image, ImageDraw, ImageFont

from app.votable.markup import escape_text

Point = tuple[float, float]
Anchor = Literal["start", "middle", "end"]

FONT: Final = "system-ui, sans-serif"
_PNG_SCALE: Final = 2
_PIL_ANCHORS: Final = {"start": "ls", "middle": "ms", "end": "rs"}


@dataclass(frozen=True, slots=True)
class Line:
    """A straight stroke."""

    start: Point
    stop: Point
    colour: str
    width: float = 1.0


@dataclass(frozen=True, slots=True)
class Dot:
    """A disc, or a ring when it is not ``filled``; ``title`` is shown over it."""

    centre: Point
    radius: float
    colour: str
    filled: bool = True
    title: str = ""


@dataclass(frozen=True, slots=True)
class Words:
    """Text whose baseline begins, is centred or ends ``at`` a point."""

    at: Point
    text: str
    colour: str
    anchor: Anchor = "start"
    size: float = 12.0


Item = Line | Dot | Words


@dataclass(frozen=True, slots=True)
class Figure:
    """``items`` in the order in which they are drawn; y runs down."""

    width: int
    height: int
    label: str
    items: tuple[Item, ...]


def ticks(low: float, high: float, most: int) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten apart) within a range that is not empty."""
    step = 10.0 ** math.floor(math.log10((high - low) / most))
    step = next(step * n for n in (1, 2, 5, 10, 20) if (high - low) / (step * n) <= most)
    first = math.ceil(low / step)
    return [n * step for n in range(first, math.floor(high / step) + 1)]


def to_svg(figure: Figure) -> str:
    """An SVG element on white."""
    body = "".join(_svg_item(item) for item in figure.items)
    size = f"{figure.width} {figure.height}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size}" width="{figure.width}" '
        f'height="{figure.height}" role="img" font-family="{FONT}">'
        f"<title>{escape_text(figure.label)}</title>"
        f'<rect width="{figure.width}" height="{figure.height}" fill="#ffffff"/>{body}</svg>'
    )


def _svg_item(item: Item) -> str:
    if isinstance(item, Line):
        (x1, y1), (x2, y2) = item.start, item.stop
        return (
            f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" '
            f'stroke="{item.colour}" stroke-width="{item.width:g}"/>'
        )
    if isinstance(item, Dot):
        title = f"<title>{escape_text(item.title)}</title>" if item.title else ""
        fill = item.colour if item.filled else "#ffffff"
        return (
            f'<circle cx="{item.centre[0]:.1f}" cy="{item.centre[1]:.1f}" r="{item.radius:g}" '
            f'fill="{fill}" stroke="{item.colour}">{title}</circle>'
        )
    return (
        f'<text x="{item.at[0]:.1f}" y="{item.at[1]:.1f}" text-anchor="{item.anchor}" '
        f'font-size="{item.size:g}" fill="{item.colour}">{escape_text(item.text)}</text>'
    )


def to_png(figure: Figure) -> bytes:
    """The same drawing with twice as many pixels along each axis."""
    size = (_PNG_SCALE * figure.width, _PNG_SCALE * figure.height)
    picture = Image.new("RGB", size, "#ffffff")
    pen = ImageDraw.Draw(picture)
    for item in figure.items:
        _paint(pen, item)
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return buffer.getvalue()


def _paint(pen: ImageDraw.ImageDraw, item: Item) -> None:
    if isinstance(item, Line):
        width = max(1, round(_PNG_SCALE * item.width))
        pen.line([_scaled(item.start), _scaled(item.stop)], fill=item.colour, width=width)
    elif isinstance(item, Dot):
        fill = item.colour if item.filled else "#ffffff"
        radius = _PNG_SCALE * item.radius
        pen.circle(_scaled(item.centre), radius, fill=fill, outline=item.colour, width=_PNG_SCALE)
    else:
        font = ImageFont.load_default(_PNG_SCALE * item.size)
        anchor = _PIL_ANCHORS[item.anchor]
        pen.text(_scaled(item.at), item.text, fill=item.colour, font=font, anchor=anchor)


def _scaled(point: Point) -> Point:
    return _PNG_SCALE * point[0], _PNG_SCALE * point[1]

"""Triplets as pictures: a row of panels for each epoch, under each other or one after the other.

Pixels are shown as they lie: north is up where it is in the image, and arrows tell where it is.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from app.pixels.grid import Grid
from app.pixels.picture import PictureOptions, paint_picture
from app.pixels.preview import NO_DATA_COLOUR, TARGET_COLOUR, draw_compass

AnimationForm = Literal["apng", "gif"]

PANEL_PX: Final = 192
GAP_PX: Final = 6
LABEL_PX: Final = 34
FRAME_MS: Final = 700
"""How long an epoch is shown."""
_FONT_PX: Final = 22
_SMALL_PX: Final = 18
"""Half of that on a phone."""
_LINE_LETTERS: Final = 19
_PAPER: Final = (255, 255, 255)
_INK: Final = (22, 25, 43)
_WORDS: Final = (214, 219, 233)
_COMPASS_PX: Final = 22.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One image of a row: ``values`` (ny, nx), the first row below, with the ``place`` (x, y) that
    is marked; or, where there is none, the ``reason``."""

    caption: str
    values: NDArray[np.float64] | None = None
    place: tuple[float, float] = (0.0, 0.0)
    options: PictureOptions = field(default_factory=PictureOptions)
    compass: Grid | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """The panels of an epoch under what names it."""

    label: str
    panels: tuple[Panel, ...]


def row_size(panels: int) -> tuple[int, int]:
    """Width and height of a row."""
    return panels * (PANEL_PX + GAP_PX) + GAP_PX, LABEL_PX + PANEL_PX + GAP_PX


def draw_strip(rows: Iterable[Row], count: int, panels: int, footer: str = "") -> bytes:
    """PNG of ``count`` rows under each other; one row at a time is held beside the picture."""
    width, height = row_size(panels)
    whole = Image.new("RGB", (width, count * height + (LABEL_PX if footer else 0)), _PAPER)
    for number, row in enumerate(rows):
        whole.paste(_draw_row(row), (0, number * height))
    if footer:
        _write(ImageDraw.Draw(whole), (GAP_PX, count * height + 5), footer)
    out = io.BytesIO()
    whole.save(out, format="PNG")
    return out.getvalue()


def animate(rows: Iterable[Row], form: AnimationForm) -> bytes:
    """The rows one after the other, again and again. There is at least one."""
    first, *others = (_draw_row(row) for row in rows)
    out = io.BytesIO()
    first.save(
        out,
        format="PNG" if form == "apng" else "GIF",
        save_all=True,
        append_images=others,
        duration=FRAME_MS,
        loop=0,
    )
    return out.getvalue()


def _draw_row(row: Row) -> Image.Image:
    picture = Image.new("RGB", row_size(len(row.panels)), _PAPER)
    _write(ImageDraw.Draw(picture), (GAP_PX, 6), row.label)
    for number, panel in enumerate(row.panels):
        drawn = _draw_panel(panel)
        picture.paste(drawn, (GAP_PX + number * (PANEL_PX + GAP_PX), LABEL_PX))
    return picture


def _draw_panel(panel: Panel) -> Image.Image:
    if panel.values is None:
        drawn = Image.new("RGB", (PANEL_PX, PANEL_PX), NO_DATA_COLOUR)
        _explain(ImageDraw.Draw(drawn), panel.reason)
    else:
        options = replace(panel.options, side_px=PANEL_PX)
        ny, nx = panel.values.shape
        drawn = paint_picture(panel.values, (ny, nx), options)
        _mark(ImageDraw.Draw(drawn), panel.place, PANEL_PX / nx)
        if panel.compass is not None:
            corner = PANEL_PX - 1.9 * _COMPASS_PX, PANEL_PX - 1.9 * _COMPASS_PX
            draw_compass(ImageDraw.Draw(drawn), corner, _COMPASS_PX, panel.compass)
    _write(ImageDraw.Draw(drawn), (6, 4), panel.caption, on_picture=True)
    return drawn


def _mark(draw: ImageDraw.ImageDraw, place: tuple[float, float], zoom: float) -> None:
    """Two strokes beside a place, which leave its own pixels free."""
    x, y = (place[0] + 0.5) * zoom, PANEL_PX - (place[1] + 0.5) * zoom
    near, far = max(10.0, 2 * zoom), max(26.0, 2 * zoom + 16)
    for width, colour in ((5, (0, 0, 0)), (3, TARGET_COLOUR)):
        draw.line((x + near, y, x + far, y), fill=colour, width=width)
        draw.line((x, y - near, x, y - far), fill=colour, width=width)


def _explain(draw: ImageDraw.ImageDraw, reason: str) -> None:
    lines: Sequence[str] = textwrap.wrap(reason, _LINE_LETTERS)[:6]
    font = ImageFont.load_default(_SMALL_PX)
    draw.multiline_text((8, 34), "\n".join(lines), fill=_WORDS, font=font, spacing=3)


def _write(
    draw: ImageDraw.ImageDraw, at: tuple[float, float], text: str, *, on_picture: bool = False
) -> None:
    font = ImageFont.load_default(_SMALL_PX if on_picture else _FONT_PX)
    if on_picture:
        draw.text(at, text, fill=_PAPER, font=font, stroke_width=2, stroke_fill=(0, 0, 0))
    else:
        draw.text(at, text, fill=_INK, font=font)

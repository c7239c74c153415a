"""Drawings of how a difference went."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image

from app.schema.rows import DatasetRow
from app.services.build_checks import (
    BINS,
    KERNELS,
    MOST_PULL,
    BuildChecks,
    kernels_over,
    star_residuals,
)
from app.services.figure import Dot, Figure, Item, Line, Words, to_svg
from app.stores.images import ImageStore

Floats = NDArray[np.float64]

INK: Final = "#1f2937"
FAINT: Final = "#9ca3af"
BLUE: Final = "#2563eb"
RED: Final = "#dc2626"
WIDTH: Final = 420
HEIGHT: Final = 260
MARGIN: Final = 36
WHISKER_PX: Final = 1500.0
"""Length of a whisker on the drawing for an ellipticity of 1."""
PIXEL: Final = 4
GAP: Final = 4
MOST_SIGMA: Final = 5.0
PANELS: Final = {"kernel": KERNELS, "stars": 4}
"""Pictures of stamps, and how many stand in a row of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityView:
    """``numbers``: (name, value, meaning); drawings are SVG elements, empty where there is
    nothing to draw."""

    numbers: list[tuple[str, str, str]]
    pulls: Markup
    stamps: Markup
    whiskers: Markup
    panels: list[str]


def view_quality(checks: BuildChecks) -> QualityView:
    """The page of a difference."""
    return QualityView(
        numbers=[(name, _short(value), meaning) for name, value, meaning in checks.numbers],
        pulls=Markup(to_svg(_draw_pulls(checks))),
        stamps=Markup(to_svg(_draw_stamps(checks)) if checks.kernel else ""),
        whiskers=Markup(to_svg(_draw_whiskers(checks)) if checks.psf else ""),
        panels=[] if checks.kernel is None else list(PANELS),
    )


def _short(value: float) -> str:
    return f"{value:.0f}" if value.is_integer() else f"{value:.5g}"


def _draw_pulls(checks: BuildChecks) -> Figure:
    """Counts on a logarithmic scale, and the normal distribution of the same area."""
    total = max(1, int(checks.pulls.sum()))
    width = 2.0 * MOST_PULL / BINS
    decades = math.log10(total) + 0.3

    def place(pull: float, count: float) -> tuple[float, float]:
        across = (pull + MOST_PULL) / (2.0 * MOST_PULL)
        up = max(0.0, math.log10(max(count, 0.5)) + 0.3) / decades
        return MARGIN + across * (WIDTH - 2 * MARGIN), HEIGHT - MARGIN - up * (HEIGHT - 2 * MARGIN)

    items: list[Item] = [Line(place(-MOST_PULL, 0), place(MOST_PULL, 0), INK)]
    for pull in range(-6, 7, 2):
        x, y = place(pull, 0)
        items.append(Words((x, y + 16), f"{pull}", INK, "middle"))
    for n, count in enumerate(checks.pulls.tolist()):
        left = -MOST_PULL + n * width
        x0, y0 = place(left, count)
        x1, _ = place(left + width, count)
        items.append(Line((x0, y0), (x1, y0), BLUE, 2.0))
    steps = np.linspace(-MOST_PULL, MOST_PULL, 97).tolist()
    curve = [
        place(z, total * width * math.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi)) for z in steps
    ]
    items += [Line(a, b, RED, 1.0) for a, b in pairwise(curve)]
    told = f"robust scatter {checks.pull_sigma:.3f}, {total} pixels"
    items.append(Words((WIDTH / 2, 18), told, INK, "middle"))
    items.append(Words((WIDTH / 2, HEIGHT - 4), "IMAGE / error (red: normal)", INK, "middle"))
    return Figure(WIDTH, HEIGHT, "Noise of the difference outside sources", tuple(items))


def _on_image(checks: BuildChecks) -> tuple[float, int, int]:
    """Drawing pixels per image pixel, width and height of a drawing of the image."""
    ny, nx = checks.shape
    scale = (WIDTH - 2 * MARGIN) / nx
    return scale, WIDTH, round(ny * scale) + 2 * MARGIN


def _frame(checks: BuildChecks) -> list[Item]:
    _, width, height = _on_image(checks)
    corners = [
        (MARGIN, MARGIN),
        (width - MARGIN, MARGIN),
        (width - MARGIN, height - MARGIN),
        (MARGIN, height - MARGIN),
    ]
    return [Line(a, b, FAINT) for a, b in zip(corners, corners[1:] + corners[:1], strict=True)]


def _spot(checks: BuildChecks, x: float, y: float) -> tuple[float, float]:
    """Image y runs up."""
    scale, _, height = _on_image(checks)
    return MARGIN + (x + 0.5) * scale, height - MARGIN - (y + 0.5) * scale


def _draw_stamps(checks: BuildChecks) -> Figure:
    assert checks.kernel is not None
    kernel = checks.kernel
    items = _frame(checks)
    for x, y, used in zip(kernel.x.tolist(), kernel.y.tolist(), kernel.used.tolist(), strict=True):
        items.append(Dot(_spot(checks, x, y), 3.0, BLUE if used else RED, filled=bool(used)))
    _, width, height = _on_image(checks)
    told = f"{int(kernel.used.sum())} stamps used, {int((~kernel.used).sum())} rejected (red)"
    items.append(Words((width / 2, 20), told, INK, "middle"))
    return Figure(width, height, "Stamps that the kernel was fitted to", tuple(items))


def _draw_whiskers(checks: BuildChecks) -> Figure:
    items = _frame(checks)
    for place in checks.psf:
        x, y = _spot(checks, place.x, place.y)
        length = WHISKER_PX * math.hypot(place.e1, place.e2)
        angle = 0.5 * math.atan2(place.e2, place.e1)
        dx, dy = 0.5 * length * math.cos(angle), 0.5 * length * math.sin(angle)
        items += [Line((x - dx, y + dy), (x + dx, y - dy), BLUE, 2.0), Dot((x, y), 1.5, INK)]
    _, width, height = _on_image(checks)
    widths = [place.fwhm_px for place in checks.psf]
    told = f"FWHM {min(widths):.2f} to {max(widths):.2f} px; the bar is an ellipticity of 0.02"
    items.append(Words((width / 2, 20), told, INK, "middle"))
    bar = 0.02 * WHISKER_PX
    items.append(Line((MARGIN, height - 14), (MARGIN + bar, height - 14), BLUE, 2.0))
    return Figure(width, height, "Ellipticity of the PSF over the image", tuple(items))


def panel_png(images: ImageStore, row: DatasetRow, name: str) -> bytes:
    """Stamps side by side, blue below zero and red above. Empty when there are none."""
    stamps = _stamps(images, row, name)
    if not stamps:
        return b""
    across = min(PANELS[name], len(stamps))
    down = -(-len(stamps) // across)
    size = stamps[0].shape[0] * PIXEL + GAP
    sheet = np.full((down * size - GAP, across * size - GAP, 3), 255, dtype=np.uint8)
    for n, stamp in enumerate(stamps):
        top, left = (n // across) * size, (n % across) * size
        drawn = np.kron(_colours(stamp[::-1]), np.ones((PIXEL, PIXEL, 1), dtype=np.uint8))
        sheet[top : top + size - GAP, left : left + size - GAP] = drawn
    buffer = io.BytesIO()
    Image.fromarray(sheet).save(buffer, format="PNG")
    return buffer.getvalue()


def _stamps(images: ImageStore, row: DatasetRow, name: str) -> list[Floats]:
    """Between -1 and 1, in the order in which they are drawn."""
    if name == "stars":
        return [np.clip(star / MOST_SIGMA, -1.0, 1.0) for star in star_residuals(images, row)]
    kernels = kernels_over(images, row)
    most = max((float(np.abs(kernel).max()) for kernel in kernels), default=0.0) or 1.0
    top_first = [n + KERNELS * line for line in reversed(range(KERNELS)) for n in range(KERNELS)]
    return [kernels[n] / most for n in top_first] if kernels else []


def _colours(values: Floats) -> NDArray[np.uint8]:
    """White at 0, red at 1, blue at -1, grey where there is no value."""
    known = np.isfinite(values)
    level = np.where(known, values, 0.0)
    fade = 255.0 * (1.0 - np.abs(level))
    red, blue = np.where(level > 0, 255.0, fade), np.where(level < 0, 255.0, fade)
    colours = np.stack([red, fade, blue], axis=-1)
    colours[~known] = 200.0
    return colours.astype(np.uint8)

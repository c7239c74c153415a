"""Pixels made colours: one pass over an image, however many pixels go into one of the picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from app.pixels.bands import over_rows

Colour = tuple[int, int, int]
Planes = Sequence[tuple[int, Colour]]
"""Bits of a mask and the colour that they have."""

TONES: Final = 1 << 15
"""Steps between black and white of a table of brightness: the steepest stretch moves one grey level
in about as many parts."""


def paint_binned(
    flux: NDArray[np.float32],
    mask: NDArray[np.int32],
    limits: tuple[float, float],
    tones: NDArray[np.uint8],
    *,
    no_data: Colour,
    overlay: Planes,
    step: int,
) -> NDArray[np.uint8]:
    """The colours (rows, columns, 3) of squares of ``step`` pixels: the mean of those of their
    pixels; the last squares of a row or column may be cut.

    A value is ``tones[0]`` (TONES of them, grey) at the first of ``limits`` and the last at the
    second; what is not finite has the colour ``no_data``. Colours of the mask are mixed half and
    half with what is below, later ones over earlier ones.
    """
    ny, nx = flux.shape
    out = np.empty((-(-ny // step), -(-nx // step), 3), dtype=np.uint8)
    low, high = limits
    scale = (TONES - 1) / ((high - low) or 1.0)
    masks = np.array([bit for bit, _ in overlay], dtype=np.int32)
    colours = np.array([colour for _, colour in overlay], dtype=np.float32).reshape(-1, 3)
    absent = np.array(no_data, dtype=np.float32)

    def rows(start: int, stop: int) -> None:
        _paint(flux, mask, low, scale, tones, absent, masks, colours, step, start, stop, out)

    over_rows(rows, out.shape[0], band_rows=max(1, 64 // step))
    return out


@njit(cache=True, nogil=True)
def _paint(
    flux: NDArray[np.float32],
    mask: NDArray[np.int32],
    low: float,
    scale: float,
    tones: NDArray[np.uint8],
    absent: NDArray[np.float32],
    masks: NDArray[np.int32],
    colours: NDArray[np.float32],
    step: int,
    start: int,
    stop: int,
    out: NDArray[np.uint8],
) -> None:
    """Rows ``start`` to ``stop`` of the squares: grey is added up, colours are kept beside it."""
    ny, nx = flux.shape
    every = np.int32(0)
    for bit in masks:
        every |= bit
    last, infinite, half = np.float32(tones.size - 1), np.float32(np.inf), np.float32(0.5)
    black, factor = np.float32(low), np.float32(scale)
    grey = np.empty(out.shape[1], dtype=np.int32)
    more = np.empty((out.shape[1], 3), dtype=np.float32)
    for row in range(start, stop):
        grey[:] = 0
        more[:] = 0.0
        for y in range(row * step, min(ny, row * step + step)):
            for column in range(out.shape[1]):
                total = 0
                for x in range(column * step, min(nx, column * step + step)):
                    value, bad = flux[y, x], mask[y, x] & every
                    known = abs(value) < infinite
                    if known and bad == 0:
                        place = min(max((value - black) * factor, np.float32(0.0)), last)
                        total += tones[int(place)]
                        continue
                    tone = np.float32(0.0)
                    if known:
                        place = min(max((value - black) * factor, np.float32(0.0)), last)
                        tone = np.float32(tones[int(place)])
                    chosen = -1
                    for k in range(masks.size):
                        chosen = k if mask[y, x] & masks[k] else chosen
                    for c in range(3):
                        below = tone if known else absent[c]
                        more[column, c] += (
                            below if chosen < 0 else half * (below + colours[chosen, c])
                        )
                grey[column] += total
        height = min(ny, row * step + step) - row * step
        for column in range(out.shape[1]):
            pixels = height * (min(nx, column * step + step) - column * step)
            for c in range(3):
                out[row, column, c] = np.uint8((grey[column] + more[column, c]) / pixels + half)

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
def _find_tones(
    line: NDArray[np.float32],
    black: np.float32,
    factor: np.float32,
    last: np.float32,
    places: NDArray[np.int32],
) -> bool:
    """Places of a row's values in the table of tones; whether all are finite.

    In a loop of its own compilers turn it into vector instructions."""
    infinite, none, finite = np.float32(np.inf), np.float32(0.0), True
    for x in range(line.size):
        value = line[x]
        finite &= abs(value) < infinite
        place = (value - black) * factor
        place = place if place > none else none  # what is not a number too
        places[x] = np.int32(place if place < last else last)
    return finite


@njit(cache=True, nogil=True)
def _has_bits(line: NDArray[np.int32], bits: np.int32) -> bool:
    seen = np.int32(0)
    for x in range(line.size):
        seen |= line[x] & bits
    return bool(seen != 0)


@njit(cache=True, nogil=True)
def _add_tones(
    places: NDArray[np.int32], tones: NDArray[np.uint8], grey: NDArray[np.int32]
) -> None:
    for x in range(places.size):
        grey[x] += tones[places[x]]


@njit(cache=True, nogil=True)
def _finish_squares(
    grey: NDArray[np.int32],
    more: NDArray[np.float32],
    step: int,
    height: int,
    out: NDArray[np.uint8],
) -> None:
    """The mean colours of a row of squares, from the grey of columns and the colours of squares."""
    for column in range(out.shape[0]):
        start, stop = column * step, min(grey.size, column * step + step)
        total = grey[start:stop].sum()
        for c in range(3):
            mean = (total + more[column, c]) / (height * (stop - start))
            out[column, c] = np.uint8(mean + np.float32(0.5))


@njit(cache=True, nogil=True)
def _add_mixed(
    flux: NDArray[np.float32],
    mask: NDArray[np.int32],
    places: NDArray[np.int32],
    tones: NDArray[np.uint8],
    absent: NDArray[np.float32],
    masks: NDArray[np.int32],
    colours: NDArray[np.float32],
    step: int,
    more: NDArray[np.float32],
) -> None:
    """Add the colours of a row, some of whose pixels have no value or a mask bit, to ``more``."""
    half = np.float32(0.5)
    for x in range(flux.size):
        known, chosen = abs(flux[x]) < np.float32(np.inf), -1
        for k in range(masks.size):
            chosen = k if mask[x] & masks[k] else chosen
        tone = np.float32(tones[places[x]])
        for c in range(3):
            below = tone if known else absent[c]
            more[x // step, c] += below if chosen < 0 else half * (below + colours[chosen, c])


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
    """Rows ``start`` to ``stop`` of the squares: the grey of each column is added
    up, colours are kept beside it."""
    ny, nx = flux.shape
    every = np.int32(0)
    for bit in masks:
        every |= bit
    last = np.float32(tones.size - 1)
    grey, places = np.empty(nx, dtype=np.int32), np.empty(nx, dtype=np.int32)
    more = np.empty((out.shape[1], 3), dtype=np.float32)
    for row in range(start, stop):
        grey[:] = 0
        more[:] = 0.0
        for y in range(row * step, min(ny, row * step + step)):
            finite = _find_tones(flux[y], np.float32(low), np.float32(scale), last, places)
            if finite and (every == 0 or not _has_bits(mask[y], every)):
                _add_tones(places, tones, grey)
            else:
                _add_mixed(flux[y], mask[y], places, tones, absent, masks, colours, step, more)
        height = min(ny, row * step + step) - row * step
        _finish_squares(grey, more, step, height, out[row])

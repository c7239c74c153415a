"""Pixels of progressive surveys: images added up by weight, and squares of pixels made one.

Values are surface brightness, so that the mean of four pixels is the pixel that they make.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from app.pixels.image import UNUSABLE, mark_usable
from app.pixels.warp import Window

Plane = NDArray[np.float32]

TILE_PX = 512
"""Width of a tile."""


class WeightedSum:
    """Images on one grid, each with a weight of its own.

    One weight for a whole image keeps the shape of stars: their own light makes their pixels
    noisy, and weights by pixel would take it for a reason to trust them less.
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        self._light = np.zeros(shape, np.float32)
        self._weight = np.zeros(shape, np.float32)

    def add(self, window: Window, weight: float) -> None:
        """The usable pixels of an image."""
        y_start, y_stop, x_start, x_stop = window.bounds
        part = np.s_[y_start:y_stop, x_start:x_stop]
        image = window.image
        good = np.empty(image.shape, np.bool_)
        mark_usable(image.flux, image.variance, image.mask, UNUSABLE, good)
        _add(self._light[part], self._weight[part], image.flux, good, np.float32(weight))

    def mean(self, area: float) -> Plane:
        """Weighted mean over ``area`` (of a pixel); NaN where no image has data. To be called
        once, at the end."""
        weight = self._weight * np.float32(area)
        weight[weight == 0.0] = np.nan
        self._light /= weight
        return self._light


@njit(cache=True, nogil=True)
def _add(
    light: Plane, total: Plane, flux: Plane, good: NDArray[np.bool_], weight: np.float32
) -> None:
    for y in range(flux.shape[0]):
        for x in range(flux.shape[1]):
            if good[y, x]:
                light[y, x] += weight * flux[y, x]
                total[y, x] += weight


def halved(pixels: Plane) -> Plane:
    """Means of 2 x 2 pixels, of those that have data; NaN where none has."""
    made = np.empty((pixels.shape[0] // 2, pixels.shape[1] // 2), np.float32)
    _halve(np.ascontiguousarray(pixels), made)
    return made


@njit(cache=True, nogil=True)
def _halve(pixels: Plane, made: Plane) -> None:
    for y in range(made.shape[0]):
        for x in range(made.shape[1]):
            light, count = np.float32(0.0), 0
            for value in (
                pixels[2 * y, 2 * x],
                pixels[2 * y, 2 * x + 1],
                pixels[2 * y + 1, 2 * x],
                pixels[2 * y + 1, 2 * x + 1],
            ):
                if not np.isnan(value):
                    light += value
                    count += 1
            made[y, x] = light / np.float32(count) if count else np.float32(np.nan)


def place_of(number: int, depth: int) -> tuple[int, int]:
    """(row, column) of a cell among the 2^depth x 2^depth that one of ``depth`` orders less is cut
    into, as HiPS lays them out in FITS: ``number`` counts them from 0."""
    even = odd = 0
    for bit in range(depth):
        even |= ((number >> (2 * bit)) & 1) << bit
        odd |= ((number >> (2 * bit + 1)) & 1) << bit
    return (1 << depth) - 1 - even, odd


def joined(children: dict[int, Plane]) -> Plane:
    """A tile of the four that it is cut into (0 to 3; those without data are missing)."""
    half = TILE_PX // 2
    made = np.full((TILE_PX, TILE_PX), np.nan, np.float32)
    for number, pixels in children.items():
        row, column = place_of(number, 1)
        made[row * half : (row + 1) * half, column * half : (column + 1) * half] = halved(pixels)
    return made

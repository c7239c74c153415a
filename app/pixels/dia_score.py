"""The score image of a difference: how many sigma a point source at each pixel would stand out.

With the PSF P there, ``sum(P D) / sqrt(sum(P² V))``: the likelihood of a point source in white
noise, as Rubin's detectAndMeasure finds its sources on. The PSF is held over cells.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from app.errors import CoverageError
from app.pixels.background import FIT_REJECT
from app.pixels.convolve import convolve, convolve_present
from app.pixels.detect import map_scatter
from app.pixels.dia_images import Layer

Floats = NDArray[np.float64]
Plane = NDArray[np.float32]

CELL_PX: Final = 256


@dataclass(frozen=True, slots=True)
class Score:
    """``values`` (ny, nx) in sigma, NaN where less than half of the PSF's power is on usable
    pixels; ``scatter`` that the map had before it was divided by it (1: the noise is white and as
    the variance tells)."""

    values: Plane
    scatter: float

    def rescaled(self, blank: NDArray[np.bool_]) -> Score:
        """The same with a scatter of 1 on the pixels that are ``blank``; as it is when they are
        too few."""
        try:
            scatter = map_scatter(np.where(blank, self.values, np.float32(np.nan)))
        except CoverageError:
            return self
        return Score(self.values / np.float32(scatter), self.scatter * scatter)


def score_image(layer: Layer) -> Score:
    """The score of a difference, with a robust scatter of 1.

    Raises CoverageError when too few pixels are usable.
    """
    cells = _PsfCells(layer)
    image = layer.image
    good = image.usable(FIT_REJECT)
    signal = convolve(np.where(good, image.flux - np.float32(layer.level), np.float32(0)), cells.at)
    noise, gain = convolve_present(image.variance, good, cells.squared_at, 1.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        values = signal / np.sqrt(noise / gain)
    scatter = map_scatter(values)
    values /= np.float32(scatter)
    return Score(values, scatter)


class _PsfCells:
    """PSF stamps, turned for correlation and with squares of unit sum, at the middles of cells."""

    def __init__(self, layer: Layer) -> None:
        ny, nx = layer.image.shape
        self._rows, self._columns = max(1, round(ny / CELL_PX)), max(1, round(nx / CELL_PX))
        self._shape = (ny, nx)
        half = layer.half_px
        stamps = []
        for row in range(self._rows):
            for column in range(self._columns):
                x, y = (column + 0.5) * nx / self._columns, (row + 0.5) * ny / self._rows
                stamp = layer.profile(x - 0.5, y - 0.5).stamp(half)[::-1, ::-1]
                stamps.append(stamp / np.sqrt((stamp**2).sum()))
        self._stamps = np.stack(stamps)

    def at(self, x: Floats, y: Floats) -> Floats:
        """Kernels (n, size, size) of places."""
        ny, nx = self._shape
        column = np.clip((x * self._columns / nx).astype(np.intp), 0, self._columns - 1)
        row = np.clip((y * self._rows / ny).astype(np.intp), 0, self._rows - 1)
        found: Floats = self._stamps[row * self._columns + column]
        return found

    def squared_at(self, x: Floats, y: Floats) -> Floats:
        """Their squares."""
        return self.at(x, y) ** 2

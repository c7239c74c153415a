"""The score image of a difference: how many sigma a point source at each pixel would stand out.

With the PSF P there, ``sum(P D) / sqrt(sum(P² V))``: the likelihood of a point source in white
noise, as Rubin's detectAndMeasure finds its sources on. The PSF is held over cells.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from app.errors import CoverageError
from app.pixels.background import FIT_REJECT
from app.pixels.bands import over_rows
from app.pixels.convolve import TILE_PX, convolve_strip, kernels_of_rows, rows_around
from app.pixels.detect import LEAST_SHARE, map_scatter
from app.pixels.dia_images import Layer
from app.pixels.psf_planes import psf_planes

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


@dataclass(frozen=True, slots=True)
class Noise:
    """What noise alone does: the ``scatter`` of the score before it was divided by it, and the
    ``gradient`` of the score after that (the root of the determinant of its second moments, per
    px²)."""

    scatter: float
    gradient: float

    def peaks(self, threshold: float) -> float:
        """How many peaks a pixel, of both signs, the score has beyond so many sigma.

        Those of a Gaussian field in two dimensions at high thresholds (Adler 1981, The geometry of
        random fields; Bardeen et al. 1986, ApJ 304, 15).
        """
        height = threshold * math.exp(-0.5 * threshold * threshold) / math.pow(2.0 * math.pi, 1.5)
        return 2.0 * self.gradient * height


def noise_of(layer: Layer, scatter: float) -> Noise:
    """The noise of the score of a difference whose own is white."""
    side, half = 2 * layer.half_px + 1, float(layer.half_px)
    value, *slopes = psf_planes(layer.typical, -half, -half, (side, side)).reshape(3, -1)
    moments = np.stack(slopes) @ np.stack(slopes).T / (value @ value)
    return Noise(scatter, math.sqrt(float(np.linalg.det(moments))))


def score_image(layer: Layer) -> Score:
    """The score of a difference, with a robust scatter of 1.

    Raises CoverageError when too few pixels are usable.
    """
    cells, image = _PsfCells(layer), layer.image
    good = image.usable(FIT_REJECT)
    signal = np.where(good, image.flux - np.float32(layer.level), np.float32(0.0))
    noise = np.where(good, image.variance, np.float32(0.0))
    values = np.empty(image.shape, np.float32)

    def rows(start: int, stop: int) -> None:
        kernels = kernels_of_rows(cells.at, start, stop, image.shape[1])
        half, squares = kernels.shape[1] // 2, kernels**2
        summed, power = (
            convolve_strip(rows_around(plane, start, stop, half), each)
            for plane, each in ((signal, kernels), (noise, squares))
        )
        present = rows_around(good, start, stop, half).astype(np.float32)
        seen = convolve_strip(present, squares, present=True) >= LEAST_SHARE
        root = np.sqrt(np.where(seen, power, np.float32(1.0)))
        values[start:stop] = np.where(seen, summed / root, np.float32(np.nan))

    over_rows(rows, image.shape[0], band_rows=TILE_PX)
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

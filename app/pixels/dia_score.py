"""The score image of a difference: how many sigma a point source at each pixel would stand out.

With the PSF P there, ``sum(P D) / sqrt(sum(P² V))``: the likelihood of a point source in white
noise, as Rubin's detectAndMeasure finds its sources on. The PSF is held over cells.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from app.errors import CoverageError
from app.pixels.background import FIT_REJECT
from app.pixels.bands import over_rows
from app.pixels.convolve import TILE_PX, correlated, kernels_of_rows, padded_shape
from app.pixels.detect import LEAST_SHARE, map_scatter
from app.pixels.dia_images import Layer
from app.pixels.image import MaskedImage
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
            scatter = map_scatter(self.values, blank)
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
    ny, nx = image.shape
    values = np.empty(image.shape, np.float32)

    def rows(start: int, stop: int) -> None:
        kernels = kernels_of_rows(cells.at, start, stop, nx)
        strips = _strips(layer, start, stop, kernels)
        summed, power, share = (
            correlated(strip, each, stop - start, nx, ones=ones)
            for strip, each, ones in zip(
                strips, (kernels, kernels**2, kernels**2), (False, False, True), strict=True
            )
        )
        _divide(summed, power, share, values[start:stop])

    over_rows(rows, ny, band_rows=TILE_PX)
    scatter = map_scatter(values)
    values /= np.float32(scatter)
    return Score(values, scatter)


def _strips(layer: Layer, start: int, stop: int, kernels: Floats) -> Plane:
    """Flux, variance and presence of the usable pixels of rows and those that the kernels reach,
    each as :func:`correlated` takes it."""
    image, half = layer.image, kernels.shape[1] // 2
    ny, nx = image.shape
    strips = np.zeros((3, *padded_shape(stop - start, nx, kernels)), np.float32)
    first, last = max(0, start - half), min(ny, stop + half)
    part = MaskedImage(image.flux[first:last], image.variance[first:last], image.mask[first:last])
    good, top = part.usable(FIT_REJECT), first - start + half
    _lay_out(part.flux, part.variance, good, np.float32(layer.level), top, half, strips)
    return strips


@njit(cache=True, nogil=True)
def _lay_out(
    flux: Plane,
    variance: Plane,
    good: NDArray[np.bool_],
    level: np.float32,
    top: int,
    left: int,
    strips: Plane,
) -> None:
    """The first pixel goes to row ``top``, column ``left`` of each strip."""
    nx = flux.shape[1]
    for y in range(flux.shape[0]):
        signal, noise, present = (
            strips[0, top + y, left : left + nx],
            strips[1, top + y, left : left + nx],
            strips[2, top + y, left : left + nx],
        )
        for x in range(nx):
            usable = good[y, x]
            signal[x] = flux[y, x] - level if usable else np.float32(0.0)
            noise[x] = variance[y, x] if usable else np.float32(0.0)
            present[x] = np.float32(1.0) if usable else np.float32(0.0)


@njit(cache=True, nogil=True)
def _divide(summed: Plane, power: Plane, share: Plane, values: Plane) -> None:
    """The score where enough of the PSF is on usable pixels."""
    for y in range(values.shape[0]):
        for x in range(values.shape[1]):
            seen = share[y, x] >= LEAST_SHARE
            root = np.sqrt(power[y, x] if seen else np.float32(1.0))
            values[y, x] = summed[y, x] / root if seen else np.float32(np.nan)


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

"""Sky background and noise of an image, robust against the sources in it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import scipy
from numba import njit
from numpy.typing import NDArray

from app.errors import CoverageError
from app.pixels.bands import over_rows
from app.pixels.image import MaskedImage, bits, lattice
from app.pixels.separable import convolve_plane, gaussian_kernel
from app.pixels.statistics import (
    IQR_TO_SIGMA,
    Clipped,
    centre_and_sigma,
    clipped_mean,
    quantiles,
    robust_sigma,
    thinned,
)

FIT_REJECT: Final = bits("BAD", "SAT", "CR", "NO_DATA", "EDGE", "SAT_TEMPLATE")
"""Pixels that carry any of these say nothing of sky, PSF or scale. A coadd's CLIPPED and REJECTED
tell that inputs were left out, not that the value is bad: they stay."""
LEAST_PIXELS: Final = 100
CELL_SAMPLE: Final = 1024
"""About how many pixels of a mesh cell are looked at."""
SMOOTHING_FWHM_PX: Final = 3.5
SCATTER_SAMPLE: Final = 200_000
VARIANCE_LIMIT: Final = 10.0


@dataclass(frozen=True, slots=True)
class Background:
    """Sky ``level`` (ny, nx) float32 and its typical pixel ``noise``, in flux units."""

    level: NDArray[np.float32]
    noise: float


def sky_level(image: MaskedImage) -> Clipped:
    """Clipped mean, standard deviation and count of the usable pixels.

    Raises CoverageError with fewer than LEAST_PIXELS.
    """
    for part in (lattice(image), image):
        sample = part.flux[part.usable(FIT_REJECT)]
        if sample.size >= LEAST_PIXELS:
            return clipped_mean(thinned(sample), iterations=10)
    raise CoverageError("pixels that show the sky", int(sample.size), LEAST_PIXELS)


def estimate_background(
    image: MaskedImage, *, mesh_px: int = 64, good: NDArray[np.bool_] | None = None
) -> Background:
    """Sky from clipped medians of mesh cells, median filtered, joined by bilinear interpolation.

    ``good``: the pixels to look at (those usable without FIT_REJECT unless given). Cells with less
    than a quarter of them take the median of the others. Raises CoverageError when no cell has.
    """
    ny, nx = image.shape
    rows, columns = max(1, round(ny / mesh_px)), max(1, round(nx / mesh_px))
    good = image.usable(FIT_REJECT) if good is None else good
    y_edges = np.linspace(0, ny, rows + 1).astype(np.int64)
    x_edges = np.linspace(0, nx, columns + 1).astype(np.int64)
    level, noise = np.full((rows, columns), np.nan), np.full((rows, columns), np.nan)

    stride = max(1, math.isqrt(ny * nx // (rows * columns * CELL_SAMPLE)))
    most = (-(-np.diff(y_edges).max() // stride)) * (-(-np.diff(x_edges).max() // stride))

    def cells(row: int, _: int) -> None:
        samples = np.empty((columns, most), dtype=np.float32)
        counts = np.empty((2, columns), dtype=np.int64)
        part = slice(y_edges[row], y_edges[row + 1], stride)
        _sample_cells(image.flux[part], good[part], x_edges, stride, samples, counts)
        samples.sort(axis=1)
        _clip_cells(samples, counts, level[row], noise[row])

    over_rows(cells, rows, band_rows=1)
    known = np.isfinite(level)
    if not known.any():
        raise CoverageError("mesh cells that show the sky", 0, 1)
    level[~known] = np.median(level[known])
    return Background(_spread(level, image.shape), float(np.median(noise[known])))


@njit(cache=True, nogil=True)
def _sample_cells(
    flux: NDArray[np.float32],
    good: NDArray[np.bool_],
    x_edges: NDArray[np.int64],
    stride: int,
    samples: NDArray[np.float32],
    counts: NDArray[np.int64],
) -> None:
    """The good ones of every ``stride``-th column of each cell of a mesh row, then infinity;
    ``counts`` (2, C) are how many are good, and how many there are."""
    for i in range(x_edges.size - 1):
        count, seen = 0, 0
        for y in range(flux.shape[0]):
            for x in range(x_edges[i], x_edges[i + 1], stride):
                seen += 1
                if good[y, x]:
                    samples[i, count] = flux[y, x]
                    count += 1
        samples[i, count:] = np.inf
        counts[0, i], counts[1, i] = count, seen


@njit(cache=True, nogil=True)
def _clip_cells(
    samples: NDArray[np.float32],
    counts: NDArray[np.int64],
    level: NDArray[np.float64],
    noise: NDArray[np.float64],
) -> None:
    """Clipped median and scatter of each cell's sorted sample; too empty cells are left."""
    for i in range(level.size):
        count, seen = counts[0, i], counts[1, i]
        if count >= max(20, seen // 4):
            level[i], noise[i] = _clipped_median(samples[i, :count])


@njit(cache=True, nogil=True)
def _clipped_median(ordered: NDArray[np.float32]) -> tuple[float, float]:
    """Median and 0.7413 IQR of sorted values within 3 sigma of the median, iterated."""
    low, high = 0, ordered.size
    middle, sigma = 0.0, 0.0
    for _ in range(10):
        last = high - low - 1
        middle = 0.5 * (ordered[low + last // 2] + ordered[low + (last + 1) // 2])
        sigma = IQR_TO_SIGMA * (ordered[low + (3 * last) // 4] - ordered[low + last // 4])
        first, past = low, high
        while ordered[first] < middle - 3.0 * sigma:
            first += 1
        while ordered[past - 1] > middle + 3.0 * sigma:
            past -= 1
        if first == low and past == high:
            break
        low, high = first, past
    return middle, sigma


def _spread(mesh: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.float32]:
    """Median filter the mesh and interpolate linearly between cell middles and out to the edges.

    Both use a ring of cells continued by point reflection, so that a slope stays a slope.
    """
    smooth = scipy.ndimage.median_filter(_ringed(mesh), size=3, mode="nearest")[1:-1, 1:-1]
    wide = _ringed(smooth)
    (below, part), (left, share) = (
        _places(size, n) for size, n in zip(shape, mesh.shape, strict=True)
    )
    low, high = wide[:, left].astype(np.float32), wide[:, left + 1].astype(np.float32)
    along = low + (high - low) * share
    level = np.empty(shape, dtype=np.float32)
    over_rows(lambda start, stop: _join_rows(start, stop, along, below, part, level), shape[0])
    return level


def _ringed(mesh: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mesh with one more cell on every side."""
    for axis in (0, 1):
        ring = [(1, 1) if axis == each else (0, 0) for each in (0, 1)]
        if mesh.shape[axis] > 1:
            mesh = np.pad(mesh, ring, mode="reflect", reflect_type="odd")
        else:
            mesh = np.pad(mesh, ring, mode="edge")
    return mesh


def _places(size: int, cells: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Of every pixel the cell of a ringed mesh before it, and the part of the way to the next."""
    at = (np.arange(size) + 0.5) * cells / size + 0.5
    before = np.minimum(at.astype(np.int64), cells)
    return before, (at - before).astype(np.float32)


@njit(cache=True, nogil=True)
def _join_rows(
    start: int,
    stop: int,
    along: NDArray[np.float32],
    below: NDArray[np.int64],
    part: NDArray[np.float32],
    level: NDArray[np.float32],
) -> None:
    """Fill rows between those of a mesh, ``along``."""
    for y in range(start, stop):
        low, high, target = along[below[y]], along[below[y] + 1], level[y]
        for x in range(target.size):
            target[x] = low[x] + (high[x] - low[x]) * part[y]


def source_free(image: MaskedImage, *, threshold: float = 3.0) -> NDArray[np.bool_]:
    """Usable pixels at least 4 px away from anything that shows after light smoothing.

    ``threshold`` is in units of the smoothed image's own robust scatter.
    """
    good = image.usable(FIT_REJECT)
    if not good.any():
        return good
    middle = quantiles(thinned(image.flux[good], SCATTER_SAMPLE), 0.5)[0]
    above = np.where(good, image.flux - np.float32(middle), np.float32(0))
    smooth = convolve_plane(above, gaussian_kernel(SMOOTHING_FWHM_PX))
    sample = thinned(smooth[good], SCATTER_SAMPLE)
    middle, sigma = centre_and_sigma(sample)
    free = np.empty(good.shape, dtype=np.bool_)
    _mark_far(np.abs(smooth - np.float32(middle)) > threshold * sigma, good, 1, 4, free)
    return free


@njit(cache=True, nogil=True)
def _mark_far(
    shows: NDArray[np.bool_],
    good: NDArray[np.bool_],
    near: int,
    far: int,
    free: NDArray[np.bool_],
) -> None:
    """Good pixels farther than ``far`` (city-block) from a good one within ``near`` of a shown."""
    distance = np.empty(shows.shape, dtype=np.uint8)
    for y in range(shows.shape[0]):
        for x in range(shows.shape[1]):
            distance[y, x] = 0 if shows[y, x] else 255
    _spread_distance(distance, far + 1)
    for y in range(shows.shape[0]):
        for x in range(shows.shape[1]):
            distance[y, x] = 0 if distance[y, x] <= near and good[y, x] else 255
    _spread_distance(distance, far + 1)
    for y in range(shows.shape[0]):
        for x in range(shows.shape[1]):
            free[y, x] = good[y, x] and distance[y, x] > far


@njit(cache=True, nogil=True)
def _spread_distance(distance: NDArray[np.uint8], most: int) -> None:
    """City-block distances, up to ``most``, from the pixels that are 0."""
    ny, nx = distance.shape
    for y in range(ny):
        if y > 0:
            for x in range(nx):
                distance[y, x] = min(distance[y, x], distance[y - 1, x] + 1, most)
        for x in range(1, nx):
            distance[y, x] = min(distance[y, x], distance[y, x - 1] + 1, most)
    for y in range(ny - 1, -1, -1):
        if y < ny - 1:
            for x in range(nx):
                distance[y, x] = min(distance[y, x], distance[y + 1, x] + 1)
        for x in range(nx - 2, -1, -1):
            distance[y, x] = min(distance[y, x], distance[y, x + 1] + 1)


def scale_variance(image: MaskedImage, blank: NDArray[np.bool_] | None = None) -> float:
    """What the variance plane must be multiplied by to tell the scatter of source-free pixels.

    The square of the robust scatter of flux / sqrt(variance), the local sky taken off. ``blank``
    marks source-free pixels (found here if not given). Raises CoverageError with fewer than
    LEAST_PIXELS of them, or when the factor is outside 1/VARIANCE_LIMIT … VARIANCE_LIMIT.
    """
    factor = noise_ratio(image, blank) ** 2
    if not 1.0 / VARIANCE_LIMIT <= factor <= VARIANCE_LIMIT:
        raise CoverageError("a variance plane near the measured scatter; factor", factor, "0.1-10")
    return factor


def noise_ratio(image: MaskedImage, blank: NDArray[np.bool_] | None = None) -> float:
    """Robust scatter of flux / sqrt(variance) over source-free pixels; see scale_variance."""
    chosen = (source_free(image) if blank is None else blank) & image.usable(FIT_REJECT)
    count = int(np.count_nonzero(chosen))
    if count < LEAST_PIXELS:
        raise CoverageError("source-free pixels", count, LEAST_PIXELS)
    level = estimate_background(image).level
    pulls = (image.flux[chosen] - level[chosen]) / np.sqrt(image.variance[chosen])
    return robust_sigma(thinned(pulls, SCATTER_SAMPLE))

"""Sky background and noise of an image, robust against the sources in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, gaussian_filter, map_coordinates, median_filter

from app.errors import CoverageError
from app.pixels.image import MaskedImage, bits
from app.pixels.statistics import Clipped, clipped_mean, robust_sigma, thinned

FIT_REJECT: Final = bits("BAD", "SAT", "CR", "NO_DATA", "EDGE", "SAT_TEMPLATE")
"""Pixels that carry any of these say nothing of sky, PSF or scale. A coadd's CLIPPED and REJECTED
tell that inputs were left out, not that the value is bad: they stay."""
LEAST_PIXELS: Final = 100
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
    sample = image.flux[image.usable(FIT_REJECT)]
    if sample.size < LEAST_PIXELS:
        raise CoverageError("pixels that show the sky", int(sample.size), LEAST_PIXELS)
    return clipped_mean(thinned(sample), iterations=10)


def estimate_background(image: MaskedImage, *, mesh_px: int = 64) -> Background:
    """Sky from clipped medians of mesh cells, median filtered, joined by bilinear interpolation.

    Cells with less than a quarter of usable pixels take the median of the others.
    Raises CoverageError when no cell has.
    """
    ny, nx = image.shape
    rows, columns = max(1, round(ny / mesh_px)), max(1, round(nx / mesh_px))
    flux = np.where(image.usable(FIT_REJECT), image.flux, np.nan)
    y_edges = np.linspace(0, ny, rows + 1).astype(int)
    x_edges = np.linspace(0, nx, columns + 1).astype(int)
    level, noise = np.full((rows, columns), np.nan), np.full((rows, columns), np.nan)
    for j in range(rows):
        for i in range(columns):
            cell = flux[y_edges[j] : y_edges[j + 1], x_edges[i] : x_edges[i + 1]]
            level[j, i], noise[j, i] = _cell(cell)
    known = np.isfinite(level)
    if not known.any():
        raise CoverageError("mesh cells that show the sky", 0, 1)
    level[~known] = np.median(level[known])
    smooth = median_filter(level, size=3, mode="nearest")
    return Background(_spread(smooth, image.shape), float(np.median(noise[known])))


def _cell(cell: NDArray[np.float32]) -> tuple[float, float]:
    """Clipped median and noise of one cell; NaN when too little of it is usable."""
    values = cell[np.isfinite(cell)].astype(np.float64)
    if values.size < max(20, cell.size // 4):
        return float("nan"), float("nan")
    for _ in range(10):
        middle, sigma = float(np.median(values)), robust_sigma(values)
        kept = values[np.abs(values - middle) <= 3.0 * sigma]
        if kept.size in (0, values.size):
            break
        values = kept
    return float(np.median(values)), robust_sigma(values)


def _spread(mesh: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.float32]:
    """Bilinear interpolation between cell centres, constant beyond the outermost."""
    rows, columns = mesh.shape
    y = np.clip((np.arange(shape[0]) + 0.5) * rows / shape[0] - 0.5, 0, rows - 1)
    x = np.clip((np.arange(shape[1]) + 0.5) * columns / shape[1] - 0.5, 0, columns - 1)
    grid = np.meshgrid(y, x, indexing="ij")
    return np.asarray(map_coordinates(mesh, grid, order=1, mode="nearest"), dtype=np.float32)


def source_free(image: MaskedImage, *, threshold: float = 3.0) -> NDArray[np.bool_]:
    """Usable pixels at least 4 px away from anything that shows after light smoothing.

    ``threshold`` is in units of the smoothed image's own robust scatter.
    """
    good = image.usable(FIT_REJECT)
    if not good.any():
        return good
    filled = np.where(good, image.flux, np.median(image.flux[good])).astype(np.float32)
    smooth = gaussian_filter(filled, 1.5)
    sample = thinned(smooth[good])
    middle, sigma = float(np.median(sample)), robust_sigma(sample)
    shows = np.abs(smooth - middle) > threshold * sigma
    solid = binary_dilation(shows, iterations=1) & good
    free: NDArray[np.bool_] = good & ~binary_dilation(solid, iterations=4)
    return free


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
    return robust_sigma(thinned(pulls))

"""The variance of an image that came without one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from app.pixels.statistics import centre_and_sigma

BLOCK_PX = 32
MAX_BLOCKS = 1024


def estimate_variance(
    flux: NDArray[np.float32],
    good: NDArray[np.bool_],
    *,
    gain_e_per_unit: float | None = None,
) -> NDArray[np.float32]:
    """Variance plane (flux units squared) from the pixels themselves.

    The sky noise is the median over 32×32 px blocks of each block's robust scatter, so that
    gradients and sources take little part; one number for the image. With a gain (electrons per
    flux unit) the photon noise of what stands above the median, ``(flux - sky) / gain``, is added.
    Where flux is NaN so is the variance. Noise that is correlated between pixels (a resampled
    image) is seen as it is in single pixels. All NaN when no pixel is good.
    """
    sigma, sky = _sky_noise(flux, good)
    variance = np.full(flux.shape, sigma * sigma, dtype=np.float32)
    if gain_e_per_unit is not None and gain_e_per_unit > 0:
        with np.errstate(invalid="ignore"):
            above = np.maximum(flux - np.float32(sky), np.float32(0))
        variance += above / np.float32(gain_e_per_unit)
    variance[~np.isfinite(flux)] = np.nan
    return variance


def _sky_noise(flux: NDArray[np.float32], good: NDArray[np.bool_]) -> tuple[float, float]:
    """Robust scatter and median level of the sky."""
    levels, scatters = [], []
    for rows, columns in _blocks(*flux.shape):
        sample = flux[rows, columns][good[rows, columns]]
        if sample.size >= 16:
            level, scatter = centre_and_sigma(sample)
            levels.append(level)
            scatters.append(scatter)
    if not scatters:
        level, scatter = centre_and_sigma(flux[good])
        return scatter, level
    return float(np.median(scatters)), float(np.median(levels))


def _blocks(ny: int, nx: int) -> list[tuple[slice, slice]]:
    """Blocks over the image, evenly thinned to at most 1024."""
    corners = [(y, x) for y in range(0, ny, BLOCK_PX) for x in range(0, nx, BLOCK_PX)]
    step = -(-len(corners) // MAX_BLOCKS)
    return [
        (slice(y, min(y + BLOCK_PX, ny)), slice(x, min(x + BLOCK_PX, nx)))
        for y, x in corners[::step]
    ]

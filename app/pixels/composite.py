"""Three images as one in colours (Lupton et al. 2004, PASP 116, 133)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from astropy.visualization import make_lupton_rgb
from numba import njit
from numpy.typing import NDArray

from app.pixels.bands import over_rows
from app.pixels.image import MaskedImage, bits
from app.pixels.mapping import PixelGrid
from app.pixels.painted import Colour
from app.pixels.statistics import robust_sigma
from app.pixels.warp import warp

Floats = NDArray[np.float64]
Flux = NDArray[np.float32]

SOFTENING: Final = 8.0
STRETCH_SIGMA: Final = 15.0
BLACK_SIGMA: Final = 2.0
"""What stays linear, and what becomes black, in units of the noise."""


@dataclass(frozen=True, slots=True)
class CoarseGrid:
    """Squares of ``step`` pixels of a grid, those of the last row and column cut or not."""

    fine: PixelGrid
    step: int

    @property
    def shape(self) -> tuple[int, int]:
        """(ny, nx)."""
        ny, nx = self.fine.shape
        return -(-ny // self.step), -(-nx // self.step)

    def pixel_to_sky(self, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        """As of the grid, for places in squares."""
        x, y = (np.asarray(place) * self.step + (self.step - 1) / 2 for place in (x, y))
        return self.fine.pixel_to_sky(x, y)

    def sky_to_pixel(self, lon_deg: Floats, lat_deg: Floats) -> tuple[Floats, Floats]:
        """As of the grid, giving places in squares."""
        x, y = self.fine.sky_to_pixel(lon_deg, lat_deg)
        return (x - (self.step - 1) / 2) / self.step, (y - (self.step - 1) / 2) / self.step


@dataclass(frozen=True, slots=True)
class Channel:
    """Flux (ny, nx) on some grid, NaN where there is none; all of a picture in one unit."""

    flux: Flux
    grid: PixelGrid


def on_squares(channel: Channel, target: CoarseGrid) -> Flux:
    """A channel in the squares of ``target``: means of what there is, resampled linearly where its
    own grid is another; NaN where it does not reach."""
    own = CoarseGrid(channel.grid, target.step)
    flux = mean_of_squares(channel.flux, target.step)
    absent = np.where(np.isfinite(flux), 0, bits("NO_DATA")).astype(np.int32)
    image = MaskedImage(flux, np.ones_like(flux), absent)
    return warp(image, own, target, kernel="bilinear").flux


def paint_composite(
    channels: Sequence[Flux], *, no_data: Colour, softening: float | None = None
) -> NDArray[np.uint8]:
    """Colours (ny, nx, 3) of a red, a green and a blue image of one shape, each above its median;
    ``softening`` is Q of the paper. What no channel has is ``no_data``."""
    levels = [flux - np.nanmedian(flux) if np.isfinite(flux).any() else flux for flux in channels]
    noise = max(robust_sigma(each[np.isfinite(each)]) for each in levels)
    noise = noise if np.isfinite(noise) and noise > 0 else 1.0
    rgb: NDArray[np.uint8] = make_lupton_rgb(
        *(np.nan_to_num(each) + BLACK_SIGMA * noise for each in levels),
        stretch=STRETCH_SIGMA * noise,
        Q=softening or SOFTENING,
    )
    rgb[~np.any([np.isfinite(each) for each in levels], axis=0)] = no_data
    return rgb


def mean_of_squares(flux: Flux, step: int) -> Flux:
    """Means of the finite pixels of squares of ``step`` pixels, NaN where there is none."""
    ny, nx = flux.shape
    out = np.empty((-(-ny // step), -(-nx // step)), dtype=np.float32)
    over_rows(lambda start, stop: _mean(flux, step, start, stop, out), out.shape[0], band_rows=8)
    return out


@njit(cache=True, nogil=True)
def _mean(flux: Flux, step: int, start: int, stop: int, out: Flux) -> None:
    ny, nx = flux.shape
    for row in range(start, stop):
        for column in range(out.shape[1]):
            total, count = 0.0, 0
            for y in range(row * step, min(ny, row * step + step)):
                for x in range(column * step, min(nx, column * step + step)):
                    if np.isfinite(flux[y, x]):
                        total += flux[y, x]
                        count += 1
            out[row, column] = total / count if count else np.nan

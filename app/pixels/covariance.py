"""How much noise neighbouring pixels share, in one number.

Interpolation spreads each input pixel's noise over several output pixels: a variance plane stays
right for single pixels, but sums over many pixels scatter more than the sum of their variances
tells. The ratio of the two, for boxes wide against the stencil, is what an aperture's error must be
multiplied by; for Lanczos-3 warps onto pixels of the same size it is about 1.1.
"""

from __future__ import annotations

from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from app.pixels.background import source_free
from app.pixels.bands import over_rows
from app.pixels.image import MaskedImage
from app.pixels.statistics import robust_sigma

_Kind = TypeVar("_Kind", bound=np.generic)

BOX_PX: Final = 8
TILE_PX: Final = 256
TILES: Final = 4
"""Along each axis, at most, are looked at."""
LEAST_BOXES: Final = 200
THRESHOLD: Final = 5.0
"""What shows is left out from here on: a lower limit would choose boxes by their noise."""


def box_noise_ratio(image: MaskedImage) -> float | None:
    """Robust scatter of sums over blank BOX_PX boxes over the root of their summed variances.

    None when too few boxes are free of sources and of unusable pixels.
    """
    tiles = _tiles(image)
    pulls = [np.empty(0)] * len(tiles)

    def look(start: int, stop: int) -> None:
        for n in range(start, stop):
            pulls[n] = _box_pulls(tiles[n])

    over_rows(look, len(tiles), band_rows=1)
    every = np.concatenate(pulls)
    return robust_sigma(every) if every.size >= LEAST_BOXES else None


def _tiles(image: MaskedImage) -> list[MaskedImage]:
    """Some parts of an image, spread evenly."""
    starts = [
        np.unique(np.linspace(0, max(0, size - TILE_PX), TILES).astype(int)) for size in image.shape
    ]
    parts = [np.s_[y : y + TILE_PX, x : x + TILE_PX] for y in starts[0] for x in starts[1]]
    return [MaskedImage(image.flux[p], image.variance[p], image.mask[p]) for p in parts]


def _box_pulls(tile: MaskedImage) -> NDArray[np.float64]:
    """Sums over the blank boxes of a part, its level taken off, in units of their stated noise."""
    blank = source_free(tile, threshold=THRESHOLD)
    if not blank.any():
        return np.empty(0)
    level = np.median(tile.flux[blank])
    whole = _boxes(blank).all(axis=(1, 3))
    sums = _boxes(tile.flux - level).sum(axis=(1, 3), dtype=np.float64)[whole]
    noise = _boxes(tile.variance).sum(axis=(1, 3), dtype=np.float64)[whole]
    return np.asarray(sums / np.sqrt(noise))


def _boxes(plane: NDArray[_Kind]) -> NDArray[_Kind]:
    ny, nx = (size // BOX_PX for size in plane.shape)
    return plane[: ny * BOX_PX, : nx * BOX_PX].reshape(ny, BOX_PX, nx, BOX_PX)

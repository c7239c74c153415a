"""Cutouts as pictures: the values of one plane, read in bands, however large the region."""

from __future__ import annotations

import warnings
from dataclasses import replace
from itertools import product
from typing import Final

import numpy as np
from numpy.typing import NDArray

from app.errors import ParameterError
from app.pixels.picture import PictureOptions, draw_picture
from app.recipes.target import cut
from app.services.builds_rows import is_difference
from app.services.cutouts import Cut, Cutout
from app.stores.plane_files import PlaneFiles, StoredUnit

Floats = NDArray[np.float64]

BAND_PIXELS: Final = 1 << 21
DEFAULT_SIDE_PX: Final = 2048
"""A larger region is drawn with as many pixels to a side at most, unless SIZE asks for more."""


class CutoutPictures:
    """Draws cutouts."""

    def __init__(self, *, files: PlaneFiles) -> None:
        self._files = files

    def draw(self, cutout: Cutout, options: PictureOptions) -> bytes:
        """The picture of the first plane, a cube's mean over its channels.

        Raises ParameterError where the sky is not on the last axes of a cube, ImageFormatError.
        """
        (y0, y1, x0, x1), shape = cutout.bounds, cutout.cuts[0].unit.shape
        if shape[-2:] != cutout.grid.shape:
            reason = "this cube has the sky on other axes than its last; ask for FITS"
            raise ParameterError("RESPONSEFORMAT", reason)
        side = max(y1 - y0, x1 - x0)
        step = -(-side // DEFAULT_SIDE_PX) if options.side_px is None else side // options.side_px
        values = self._collapsed(cutout.cuts[0], max(1, step))
        grid = cut(cutout.grid, (y0, y1, x0, x1))
        return draw_picture(values, grid, _with_defaults(options, cutout))

    def _collapsed(self, part: Cut, step: int) -> Floats:
        """Means over squares of ``step`` pixels and all channels, of what is finite."""
        total: Floats | float = 0.0
        count: Floats | float = 0.0
        for index in product(*(range(*span) for span in part.window[:-2])):
            plane = self._plane(part, tuple((each, each + 1) for each in index), step)
            total = total + np.nan_to_num(plane)
            count = count + np.isfinite(plane)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(total / count)

    def _plane(self, part: Cut, index: tuple[tuple[int, int], ...], step: int) -> Floats:
        (y0, y1), (x0, x1) = part.window[-2:]
        rows = step * max(1, BAND_PIXELS // (step * (x1 - x0)))
        bands = []
        for start in range(y0, y1, rows):
            window = (*index, (start, min(start + rows, y1)), (x0, x1))
            stored = np.frombuffer(b"".join(self._files.read(part.unit, window)), part.unit.dtype)
            bands.append(_binned(_scaled(stored.reshape(-1, x1 - x0), part.unit), step))
        return np.concatenate(bands)


def _with_defaults(options: PictureOptions, cutout: Cutout) -> PictureOptions:
    """A difference is linear about zero unless told otherwise."""
    if not is_difference(cutout.row):
        return options
    return replace(options, scale=options.scale or "symmetric", stretch=options.stretch or "linear")


def _scaled(stored: NDArray[np.generic], unit: StoredUnit) -> Floats:
    """Values as the header says (FITS 4.0, section 4.4.2.5); BLANK and infinite ones as NaN."""
    values = stored.astype(np.float64)
    if "BLANK" in unit.header and stored.dtype.kind != "f":
        values[stored == unit.header["BLANK"]] = np.nan
    values[~np.isfinite(values)] = np.nan
    scale, zero = unit.header.get("BSCALE", 1.0), unit.header.get("BZERO", 0.0)
    return np.asarray(values * scale + zero)


def _binned(values: Floats, step: int) -> Floats:
    """Means over squares, those at the upper and right edges of what there is."""
    if step == 1:
        return values
    edges = [(0, -size % step) for size in values.shape]
    padded = np.pad(values, edges, constant_values=np.nan)
    ny, nx = (size // step for size in padded.shape)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # squares without any value
        return np.asarray(np.nanmean(padded.reshape(ny, step, nx, step), axis=(1, 3)))

"""Resample a masked image onto another pixel grid.

Flux is conserved: each value is the stencil-interpolated source value times the number of source
pixels in the target pixel (the Jacobian of the map). Stencil weights sum to 1; variance is carried
with the squared weights (diagonal only: neighbouring output pixels share noise). The mask is the OR
over all taps. Pixels without data (NaN, infinite, variance not above 0, NO_DATA) lend no tap; where
some taps are missing the rest is renormalised and the pixel flagged EDGE. Where the nearest source
pixel has no data or lies outside, the result is NO_DATA with flux and variance NaN.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from app.pixels.bands import over_rows
from app.pixels.image import MaskedImage
from app.pixels.mapping import PixelGrid, PixelMap, map_pixels
from app.pixels.resample import NO_DATA, Planes, pair_rows, warp_rows
from app.pixels.stencil import stencil_table
from app.pixels.taps import lanes_of, padded_table
from app.pixels.warped import Bounds

_SPARE: Final = 48
"""Numbers after each row of the pairs. Rows of a power of two would share a few lines of the
first-level cache, and a window's rows would push each other out of it."""


@dataclass(frozen=True, slots=True)
class Window:
    """The part of the target that an image can reach: pixels outside ``bounds`` are NO_DATA.

    ``position_error_px`` is the largest error measured of the interpolated source positions.
    """

    image: MaskedImage
    bounds: Bounds
    position_error_px: float


def warp(
    image: MaskedImage, source: PixelGrid, target: PixelGrid, *, kernel: str = "lanczos3"
) -> MaskedImage:
    """``image`` on all pixels of ``target``; all NO_DATA when the two do not overlap.

    See :func:`warp_window` for the kernels and what becomes of width and zero point.
    """
    window = warp_window(image, source, target, kernel=kernel)
    if window is None:
        return _blank(target.shape, image.zero_point_mag)
    return widened(window, target.shape)


def warp_window(
    image: MaskedImage,
    source: PixelGrid,
    target: PixelGrid,
    *,
    kernel: str = "lanczos3",
    sky: float = 0.0,
    scale: float = 1.0,
) -> Window | None:
    """(``image`` - ``sky``) x ``scale`` on the pixels of ``target`` that it can reach, or None.

    ``kernel`` is lanczos3, lanczos5, bilinear or nearest (ParameterError otherwise). A map that is
    a whole-pixel shift copies pixels and adds no correlation. ``fwhm_px`` is rescaled to target
    pixels; the zero point stays.
    """
    table = stencil_table(kernel)
    pixel_map = map_pixels(source, target)
    if pixel_map is None:
        return None
    whole = pixel_map.shift_px()
    if whole is None:
        planes = _resampled(image, pixel_map, table, sky, scale)
        fwhm_px = _rescaled_fwhm(image.fwhm_px, pixel_map)
    else:
        planes = _shifted(image, pixel_map, whole, sky, scale)
        fwhm_px = image.fwhm_px
    warped = MaskedImage(*planes, fwhm_px=fwhm_px, zero_point_mag=image.zero_point_mag)
    return Window(warped, pixel_map.bounds, pixel_map.error_px)


def widened(window: Window, shape: tuple[int, int]) -> MaskedImage:
    """The window in an image of ``shape`` that is NO_DATA outside of it."""
    image, (y_start, y_stop, x_start, x_stop) = window.image, window.bounds
    if image.shape == shape:
        return image
    frame = (y_start, shape[0] - y_stop), (x_start, shape[1] - x_stop)
    flux, variance = (
        np.pad(plane, frame, constant_values=np.nan) for plane in (image.flux, image.variance)
    )
    mask = np.pad(image.mask, frame, constant_values=NO_DATA)
    return replace(image, flux=flux, variance=variance, mask=mask)


def _rescaled_fwhm(fwhm_px: float | None, pixel_map: PixelMap) -> float | None:
    ratio = pixel_map.area_ratio()
    if fwhm_px is None or not ratio > 0:
        return None
    return float(fwhm_px / np.sqrt(ratio))


def _blank(shape: tuple[int, int], zero_point_mag: float | None) -> MaskedImage:
    """An image without any data."""
    return MaskedImage(
        np.full(shape, np.nan, dtype=np.float32),
        np.full(shape, np.nan, dtype=np.float32),
        np.full(shape, NO_DATA, dtype=np.int32),
        zero_point_mag=zero_point_mag,
    )


def _empty(pixel_map: PixelMap) -> Planes:
    shape = pixel_map.shape
    return (
        np.empty(shape, dtype=np.float32),
        np.empty(shape, dtype=np.float32),
        np.empty(shape, dtype=np.int32),
    )


def _native(image: MaskedImage) -> Planes:
    """Planes as compiled kernels take them."""
    return (
        np.ascontiguousarray(image.flux, dtype=np.float32),
        np.ascontiguousarray(image.variance, dtype=np.float32),
        np.ascontiguousarray(image.mask, dtype=np.int32),
    )


def _shifted(
    image: MaskedImage, pixel_map: PixelMap, shift: tuple[int, int], sky: float, scale: float
) -> Planes:
    """Source pixels a whole number of pixels away."""
    planes, out = _native(image), _empty(pixel_map)
    offset = shift[0] + pixel_map.y_start, shift[1] + pixel_map.x_start
    level = np.float32(sky), np.float32(scale)
    over_rows(
        lambda start, stop: _shift_rows(start, stop, offset, planes, level, out),
        pixel_map.shape[0],
    )
    return out


@njit(cache=True, nogil=True)
def _shift_rows(
    start: int,
    stop: int,
    offset: tuple[int, int],
    planes: Planes,
    level: tuple[np.float32, np.float32],
    out: Planes,
) -> None:
    """Rows ``start <= y < stop`` of ``out`` from source pixels ``offset`` (y, x) further."""
    (ny, nx), (sky, scale), limit = planes[0].shape, level, np.float32(np.inf)
    first, last = max(0, -offset[1]), min(out[0].shape[1], nx - offset[1])
    for y in range(start, stop):
        row = y + offset[0]
        if not (0 <= row < ny and first < last):
            out[0][y], out[1][y], out[2][y] = np.nan, np.nan, NO_DATA
            continue
        for part in (slice(0, first), slice(last, None)):
            out[0][y, part], out[1][y, part], out[2][y, part] = np.nan, np.nan, NO_DATA
        flux, variance, mask = out[0][y, first:last], out[1][y, first:last], out[2][y, first:last]
        begin, end = first + offset[1], last + offset[1]
        values, noises = planes[0][row, begin:end], planes[1][row, begin:end]
        marks = planes[2][row, begin:end]
        for x in range(last - first):
            value, noise, mark = values[x], noises[x], marks[x]
            told = (noise > 0) & (noise < limit) & (abs(value) < limit)
            told &= (mark & np.int32(NO_DATA)) == 0
            flux[x] = (value - sky) * scale if told else np.float32(np.nan)
            variance[x] = noise * scale * scale if told else np.float32(np.nan)
            mask[x] = mark if told else mark | np.int32(NO_DATA)


def _resampled(
    image: MaskedImage,
    pixel_map: PixelMap,
    table: NDArray[np.float32],
    sky: float,
    scale: float,
) -> Planes:
    """The source interpolated at every pixel of the window."""
    planes, out, taps = _native(image), _empty(pixel_map), table.shape[1]
    side = lanes_of(taps)
    pairs, marks = _paired(planes, side)
    wide, shift = padded_table(table), side.bit_length() - 1
    level = (np.float32(sky), np.float32(scale))
    nodes = (pixel_map.x, pixel_map.y)

    def rows(start: int, stop: int) -> None:
        warp_rows(
            start,
            stop,
            pixel_map.step_px,
            nodes,
            planes,
            pairs,
            marks,
            shift,
            wide,
            taps,
            level,
            out,
        )

    over_rows(rows, pixel_map.shape[0])
    return out


def _paired(planes: Planes, side: int) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Flux and variance by turns, and the marks, as :func:`app.pixels.resample.warp_rows` wants
    them."""
    ny, nx = planes[0].shape
    rows, columns = -(-ny // side), -(-nx // side)
    pairs = np.empty((ny, 2 * nx + _SPARE), dtype=np.float32)
    single = np.zeros((rows + 1, columns + 1), dtype=np.bool_)
    over_rows(
        lambda start, stop: pair_rows(start, stop, planes, side, pairs, single), rows, band_rows=16
    )
    marks = np.zeros((rows + 2, columns + 2), dtype=np.int32)
    marks[1:, 1:] = single.cumsum(axis=0, dtype=np.int32).cumsum(axis=1, dtype=np.int32)
    return pairs, marks

"""Resample a masked image onto another pixel grid.

Flux is conserved: each value is the stencil-interpolated source value times the number of source
pixels in the target pixel (the Jacobian of the map). Stencil weights sum to 1; variance is carried
with the squared weights (diagonal only: neighbouring output pixels share noise). The mask is the OR
over all taps. Pixels without data (NaN, infinite, NO_DATA) lend no tap; where some taps are missing
the rest is renormalised and the pixel flagged EDGE. Where the nearest source pixel has no data or
lies outside, the result is NO_DATA with flux and variance NaN.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from app.pixels.bands import over_rows
from app.pixels.image import MaskedImage
from app.pixels.mapping import PixelGrid, PixelMap, map_pixels
from app.pixels.resample import MISSING, NO_DATA, warp_rows
from app.pixels.stencil import stencil_table


def warp(
    image: MaskedImage, source: PixelGrid, target: PixelGrid, *, kernel: str = "lanczos3"
) -> MaskedImage:
    """``image`` on the pixels of ``target``; all NO_DATA when the two do not overlap.

    ``kernel`` is lanczos3, lanczos5 or bilinear (ParameterError otherwise). A map that is a
    whole-pixel shift copies pixels and adds no correlation. ``fwhm_px`` is rescaled to target
    pixels; the zero point stays.
    """
    table = stencil_table(kernel)
    pixel_map = map_pixels(source, target)
    blank = _blank(target.shape, image.zero_point_mag)
    if pixel_map is None:
        return blank
    shift = pixel_map.shift_px()
    if shift is not None:
        _copy_shifted(image, blank, pixel_map, shift)
        fwhm_px = image.fwhm_px
    else:
        _resample(image, blank, pixel_map, table)
        fwhm_px = _rescaled_fwhm(image.fwhm_px, pixel_map)
    return MaskedImage(
        blank.flux, blank.variance, blank.mask, fwhm_px=fwhm_px, zero_point_mag=image.zero_point_mag
    )


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


def _missing(image: MaskedImage) -> NDArray[np.bool_]:
    """True where a pixel holds no value that may lend a tap."""
    absent: NDArray[np.bool_] = (
        ~np.isfinite(image.flux)
        | ~np.isfinite(image.variance)
        | (image.variance < 0)
        | ((image.mask & NO_DATA) != 0)
    )
    return absent


def _copy_shifted(
    image: MaskedImage, out: MaskedImage, pixel_map: PixelMap, shift: tuple[int, int]
) -> None:
    """Fill ``out`` from source pixels a whole number of pixels away."""
    dy, dx = shift
    ny, nx = image.shape
    y_start, y_stop = max(pixel_map.y_start, -dy), min(pixel_map.y_stop, ny - dy)
    x_start, x_stop = max(pixel_map.x_start, -dx), min(pixel_map.x_stop, nx - dx)
    if y_stop <= y_start or x_stop <= x_start:
        return
    to = (slice(y_start, y_stop), slice(x_start, x_stop))
    origin = (slice(y_start + dy, y_stop + dy), slice(x_start + dx, x_stop + dx))
    absent = _missing(image)[origin]
    out.flux[to] = np.where(absent, np.nan, image.flux[origin])
    out.variance[to] = np.where(absent, np.nan, image.variance[origin])
    out.mask[to] = image.mask[origin] | np.where(absent, NO_DATA, 0)


def _resample(
    image: MaskedImage, out: MaskedImage, pixel_map: PixelMap, table: NDArray[np.float32]
) -> None:
    """Fill ``out`` inside the map's bounds by interpolation."""
    absent = _missing(image)
    taps = table.shape[1]
    marked = np.where(absent, (image.mask & ~NO_DATA) | MISSING, image.mask).astype(np.int32)
    footprint = or_over_footprint(marked, taps)
    flux = np.ascontiguousarray(image.flux, dtype=np.float32)
    variance = np.ascontiguousarray(image.variance, dtype=np.float32)
    bounds = (pixel_map.y_start, pixel_map.x_start, pixel_map.x_stop)

    def rows(start: int, stop: int) -> None:
        warp_rows(
            start + pixel_map.y_start,
            stop + pixel_map.y_start,
            bounds,
            pixel_map.step_px,
            pixel_map.x,
            pixel_map.y,
            flux,
            variance,
            marked,
            footprint,
            table,
            out.flux,
            out.variance,
            out.mask,
        )

    over_rows(rows, pixel_map.y_stop - pixel_map.y_start)


def or_over_footprint(mask: NDArray[np.int32], taps: int) -> NDArray[np.int32]:
    """OR of the mask over the taps of a stencil whose floor pixel is each pixel.

    Taps reach from ``1 - taps/2`` to ``taps/2``; those outside the image count as MISSING.
    """
    half = taps // 2
    ny, nx = mask.shape
    wide = np.full((ny + taps, nx + taps), MISSING, dtype=np.int32)
    wide[half - 1 : half - 1 + ny, half - 1 : half - 1 + nx] = mask
    rows = wide[:ny].copy()
    for tap in range(1, taps):
        rows |= wide[tap : tap + ny]
    result = rows[:, :nx].copy()
    for tap in range(1, taps):
        result |= rows[:, tap : tap + nx]
    return result

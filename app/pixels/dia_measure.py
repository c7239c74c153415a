"""What is measured of a source on a difference, beside its place and PSF flux."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, sqrt
from types import MappingProxyType
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from app.pixels.dia_images import Layer, Stamp
from app.pixels.dia_psf_fit import PsfFit
from app.pixels.image import bits
from app.pixels.psf_field import SHAPE_REACH
from app.pixels.psf_moments import adaptive_moments

Floats = NDArray[np.float64]

APERTURE_FWHM: Final = 1.5
"""Radius of the aperture, in FWHM of the PSF."""
SUBPIXELS: Final = 5
SHAPE_TOLERANCE: Final = 1e-4

CENTRE_FLAGS: Final = MappingProxyType(
    {
        "pixel_flags_bad": bits("BAD"),
        "pixel_flags_cr": bits("CR"),
        "pixel_flags_interpolated": bits("INTRP"),
        "pixel_flags_suspect": bits("SUSPECT"),
    }
)
"""Flag -> mask planes; set when one is on the 3 x 3 pixels around the source."""
STAMP_FLAGS: Final = MappingProxyType(
    {
        "pixel_flags_saturated": bits("SAT"),
        "pixel_flags_saturated_template": bits("SAT_TEMPLATE"),
        "pixel_flags_edge": bits("EDGE"),
        "pixel_flags_nodata": bits("NO_DATA"),
    }
)
"""Set when one is on any pixel that the PSF is fitted to."""
FLAGS: Final = (*CENTRE_FLAGS, *STAMP_FLAGS, "bright_neighbour_flag", "centroid_flag", "shape_flag")
MILD_FLAGS: Final = frozenset({"pixel_flags_interpolated", "pixel_flags_suspect", "shape_flag"})
"""Those that leave a source trustworthy."""

NEIGHBOUR_FWHM: Final = 3.5
NEIGHBOUR_FLUX: Final = 200.0
"""Within so many FWHM of a star that is so many times brighter, faults of the PSF far from the
middle of that star look like sources."""

LEAST_CHANGE: Final = 0.02
"""A change by this part of what the template shows is as likely a fault of the subtraction."""
FALSE_SOURCES: Final = 2.0
"""Where noise alone has so many peaks as high in an image of JUDGED_PX pixels, sources are half as
reliable."""
JUDGED_PX: Final = 2048**2


@dataclass(frozen=True, slots=True)
class Aperture:
    """Sum over the circle and its error; ``positive_ratio`` of the positive pixels to all, in
    absolute values."""

    flux: float
    flux_err: float
    positive_ratio: float


@dataclass(frozen=True, slots=True)
class Moments:
    """Adaptive second moments (px²); NaN where they do not settle."""

    ixx: float
    iyy: float
    ixy: float


def aperture(stamp: Stamp, x: float, y: float, radius_px: float, scatter: float) -> Aperture:
    """The circle around a place of the image. Pixels that are not ``good`` have no noise."""
    noise = np.where(stamp.good, stamp.variance, 0.0)
    half = stamp.half_px
    place = x - stamp.x + half, y - stamp.y + half
    flux, square, positive, whole = _sum_circle(stamp.flux, noise, *place, radius_px)
    error, ratio = scatter * sqrt(square), positive / whole if whole > 0 else float("nan")
    return Aperture(flux, error, ratio)


@njit(cache=True, nogil=True)
def _sum_circle(
    flux: Floats, noise: Floats, x: float, y: float, radius_px: float
) -> tuple[float, float, float, float]:
    """Sums over the circle, by the part of each pixel in it, of flux, variance, positive flux and
    absolute flux."""
    ny, nx = flux.shape
    reach = int(radius_px) + 2
    column, row = int(np.floor(x + 0.5)), int(np.floor(y + 0.5))
    total, square, positive, whole = 0.0, 0.0, 0.0, 0.0
    for j in range(max(0, row - reach), min(ny, row + reach + 1)):
        for i in range(max(0, column - reach), min(nx, column + reach + 1)):
            inside = 0
            for n in range(SUBPIXELS * SUBPIXELS):
                dy = j - y + (n // SUBPIXELS + 0.5) / SUBPIXELS - 0.5
                dx = i - x + (n % SUBPIXELS + 0.5) / SUBPIXELS - 0.5
                inside += dx * dx + dy * dy <= radius_px * radius_px
            share = inside / (SUBPIXELS * SUBPIXELS)
            total += share * flux[j, i]
            square += share * share * noise[j, i]
            positive += share * max(flux[j, i], 0.0)
            whole += share * abs(flux[j, i])
    return total, square, positive, whole


def shape_half_px(layer: Layer) -> int:
    """Half the side of the stamps that shapes are measured on."""
    return ceil(SHAPE_REACH * 1.5 * layer.sigma_px) + 1


def shape(stamp: Stamp, fit: PsfFit, sigma_px: float) -> Moments:
    """Of the source with its sign taken off."""
    x, y = fit.x - stamp.x + stamp.half_px, fit.y - stamp.y + stamp.half_px
    plane = np.sign(fit.flux) * stamp.flux
    found = adaptive_moments(plane, x, y, sigma_px, SHAPE_REACH, SHAPE_TOLERANCE)
    return Moments(float(found[2]), float(found[3]), float(found[4]))


def flags_of(stamp: Stamp, half_px: int) -> frozenset[str]:
    """Names of the flags that the mask sets around the middle of a stamp and within ``half_px``."""
    core, whole = (
        np.bitwise_or.reduce(stamp.mask[stamp.square(stamp.x, stamp.y, half)], None)
        for half in (1, half_px)
    )
    found = {name for name, planes in CENTRE_FLAGS.items() if core & planes}
    return frozenset(found | {name for name, planes in STAMP_FLAGS.items() if whole & planes})


def has_bright_neighbour(layers: Sequence[Layer], fit: PsfFit) -> bool:
    """Whether a much brighter star is near on one of the images under the difference.

    A star's flux is told by its highest pixel, of what a saturated one shows.
    """
    for layer in layers:
        half = ceil(NEIGHBOUR_FWHM * layer.fwhm_px)
        x, y = round(fit.x), round(fit.y)
        box = layer.image.flux[max(0, y - half) : y + half + 1, max(0, x - half) : x + half + 1]
        if _highest(box) - layer.level > NEIGHBOUR_FLUX * abs(fit.flux) * layer.peak:
            return True
    return False


@njit(cache=True, nogil=True)
def _highest(flux: NDArray[np.float32]) -> float:
    """Of what is finite."""
    found = -np.inf
    for y in range(flux.shape[0]):
        for x in range(flux.shape[1]):
            if np.isfinite(flux[y, x]):
                found = max(found, flux[y, x])
    return found


def reliability(
    fit: PsfFit, flags: frozenset[str], template_flux: float, noise_peaks: float
) -> float:
    """A hint from 0 to 1, not a probability: ``1 / max(1, chi²_v) x |F| / (|F| + 0.02 |T|) x
    1 / (1 + N / 2)``.

    F is the PSF flux on the difference, T that of the template at the place, chi²_v
    :attr:`PsfFit.reduced_chi2`, N (``noise_peaks``) how many
    peaks as high noise alone has in 2048 x 2048 pixels. 0 for sources with a flag that is none of
    :data:`MILD_FLAGS`, and where nothing was measured.
    """
    if flags - MILD_FLAGS or not (fit.flux_err > 0.0 and fit.n_pixels > 3):
        return 0.0
    change = abs(fit.flux)
    beside = LEAST_CHANGE * abs(template_flux) if np.isfinite(template_flux) else 0.0
    told = change / (change + beside) / (1.0 + noise_peaks / FALSE_SOURCES)
    return float(told / max(1.0, fit.reduced_chi2))

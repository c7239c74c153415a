"""What is measured of a source on a difference, beside its place and PSF flux."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from app.pixels.dia_images import Layer, Stamp, cut_stamp
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


def aperture(
    stamp: Stamp, fit: PsfFit, model: Floats, radius_px: float, scatter: float
) -> Aperture:
    """The circle around the fitted place. Pixels that are not usable are what the PSF has there
    (``model`` of the whole stamp, in flux units)."""
    share = _share(*stamp.offsets(fit.x, fit.y), radius_px)
    flux = np.where(stamp.good, stamp.flux, model)
    noise = np.where(stamp.good, stamp.variance, 0.0)
    total = float((share * np.abs(flux)).sum())
    positive = float((share * np.maximum(flux, 0.0)).sum())
    return Aperture(
        float((share * flux).sum()),
        scatter * float(np.sqrt((share**2 * noise).sum())),
        positive / total if total > 0 else float("nan"),
    )


def _share(dx: Floats, dy: Floats, radius_px: float) -> Floats:
    """The part of each pixel that lies within the circle."""
    fine = (np.arange(SUBPIXELS) + 0.5) / SUBPIXELS - 0.5
    x, y = dx[..., None, None] + fine, dy[..., None, None] + fine[:, None]
    inside: Floats = (x**2 + y**2 <= radius_px**2).mean(axis=(-2, -1))
    return inside


def shape(layer: Layer, fit: PsfFit) -> Moments:
    """Of the source with its sign taken off; pixels that are not usable are what the PSF has."""
    half = ceil(SHAPE_REACH * 1.5 * layer.sigma_px) + 1
    stamp = cut_stamp(layer, round(fit.x), round(fit.y), half)
    model = fit.flux * layer.profile(fit.x, fit.y).values(*stamp.offsets(fit.x, fit.y))
    plane = np.sign(fit.flux) * np.where(stamp.good, stamp.flux, model)
    x, y = fit.x - stamp.x + half, fit.y - stamp.y + half
    found = adaptive_moments(plane, x, y, layer.sigma_px, SHAPE_REACH, SHAPE_TOLERANCE)
    return Moments(float(found[2]), float(found[3]), float(found[4]))


def flags_of(stamp: Stamp) -> frozenset[str]:
    """Names of the flags that the mask sets around the middle of a stamp and on all of it."""
    middle = np.s_[stamp.half_px - 1 : stamp.half_px + 2]
    core = np.bitwise_or.reduce(stamp.mask[middle, middle], None)
    whole = np.bitwise_or.reduce(stamp.mask, None)
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
        shown = box[np.isfinite(box)]
        peak = layer.typical.values(np.zeros(1), np.zeros(1))[0]
        if shown.size and (shown.max() - layer.level) > NEIGHBOUR_FLUX * abs(fit.flux) * peak:
            return True
    return False


def reliability(fit: PsfFit, flags: frozenset[str], template_flux: float, is_dipole: bool) -> float:
    """A hint from 0 to 1, not a probability: ``1 / max(1, chi²_v) x |F| / (|F| + 0.02 |T|)``.

    F is the PSF flux on the difference, T that of the template at the place, chi²_v the reduced
    chi² of the PSF fit, of which a misfit of 2 % of F counts as noise. 0 for dipoles, for sources
    with a flag that is none of :data:`MILD_FLAGS`, and where nothing was
    measured.
    """
    faults = flags - MILD_FLAGS
    if is_dipole or faults or not fit.flux_err > 0.0 or fit.n_pixels <= 3:
        return 0.0
    reduced = fit.chi2 / (fit.n_pixels - 3)
    allowed = 1.0 + (LEAST_CHANGE * fit.flux / fit.flux_err) ** 2
    change = abs(fit.flux)
    beside = LEAST_CHANGE * abs(template_flux) if np.isfinite(template_flux) else 0.0
    return float(change / (change + beside) / max(1.0, reduced / allowed))

"""What references tell of flux scale, noise and depth, before any pixel is read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median
from typing import Final

from app.pixels.grid import Grid
from app.recipes.recipe import ImageRef

NANOJANSKY_ZERO_POINT_MAG: Final = 31.4
"""AB magnitude of 1 nJy, the unit of templates whose inputs all have a zero point."""
NANOJANSKY: Final = "nJy"

DETECTION_SIGMA: Final = 5.0
NOISE_AREA_PER_FWHM2: Final = math.pi / (2.0 * math.log(2.0))
"""Effective area of a Gaussian PSF, 4 pi sigma^2, in units of its squared FWHM."""


def zero_point_of(ref: ImageRef) -> float | None:
    """The zero point of an image; that of nanojansky when its unit says so."""
    if ref.zero_point_mag is None and ref.bunit == NANOJANSKY:
        return NANOJANSKY_ZERO_POINT_MAG
    return ref.zero_point_mag


def common_zero_point(inputs: tuple[ImageRef, ...], science: ImageRef | None) -> float | None:
    """The zero point to bring all inputs to; None when one of them has none.

    That of the science image, so that the matching kernel has a sum near 1, else nanojansky.
    """
    if any(zero_point_of(ref) is None for ref in inputs):
        return None
    known = None if science is None else zero_point_of(science)
    return NANOJANSKY_ZERO_POINT_MAG if known is None else known


def flux_factor(ref: ImageRef, zero_point_mag: float | None) -> float:
    """What brings fluxes of an image to a zero point; 1 where either is not known."""
    own = zero_point_of(ref)
    if own is None or zero_point_mag is None:
        return 1.0
    return float(10.0 ** (0.4 * (zero_point_mag - own)))


def exposure_time_ratio(ref: ImageRef, reference: ImageRef) -> float | None:
    """What brings fluxes of an image to those of another of the same instrument by their exposure
    times; 1 for rates (a unit per second). None when times are unknown or units differ."""
    if ref.bunit != reference.bunit:
        return None
    if "/s" in (ref.bunit or "").lower():
        return 1.0
    if not (ref.exposure_s and reference.exposure_s):
        return None
    return reference.exposure_s / ref.exposure_s


def point_source_depth_mag(noise: float, fwhm_px: float, zero_point_mag: float) -> float | None:
    """Magnitude of a point source whose PSF flux is five times its error where the sky rules.

    ``noise`` is the standard deviation of a pixel (independent of its neighbours). The error is
    ``noise`` times the root of the effective area 4 pi sigma^2 of a Gaussian PSF (King 1983, PASP
    95, 163). None when a number is not positive.
    """
    error = noise * fwhm_px * math.sqrt(NOISE_AREA_PER_FWHM2)
    if not (error > 0.0 and math.isfinite(error)):
        return None
    return zero_point_mag - 2.5 * math.log10(DETECTION_SIGMA * error)


def depth_of(ref: ImageRef) -> float | None:
    """:func:`point_source_depth_mag` of an image; None where noise, seeing or zero point is not
    known."""
    zero_point_mag = zero_point_of(ref)
    if ref.noise is None or ref.fwhm_arcsec is None or zero_point_mag is None:
        return None
    fwhm_px = ref.fwhm_arcsec / Grid.from_text(ref.grid).pixel_scale_arcsec
    return point_source_depth_mag(ref.noise, fwhm_px, zero_point_mag)


def effective_times_s(refs: Sequence[ImageRef]) -> dict[str, float]:
    """Identifier -> exposure time that would have reached the image's depth under the median
    conditions of ``refs``.

    Background-limited, a time goes as 10^(0.8 m) of the depth m; an image as good as the median
    has its own exposure time. Images whose depth or exposure time is not known are left out.
    """
    known = {
        ref.dataset_id: (ref.exposure_s, 10.0 ** (0.8 * depth))
        for ref in refs
        if ref.exposure_s and (depth := depth_of(ref)) is not None
    }
    if not known:
        return {}
    seconds_each = median(seconds / gain for seconds, gain in known.values())
    return {name: seconds_each * gain for name, (_, gain) in known.items()}

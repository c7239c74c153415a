"""Forced photometry on one published image: only the pixels about the place are read."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import isfinite, nan
from typing import Final

from app.errors import ComputationError, CoverageError, LimitError
from app.pixels.detect import gaussian_psf
from app.pixels.forced import (
    ForcedFlux,
    edge_distance_px,
    measure_forced,
    window_about,
    window_half_px,
)
from app.pixels.grid import Grid
from app.pixels.image import MASK_PLANES, bits
from app.pixels.psf_field import Profile
from app.recipes.photometry import NANOJANSKY_ZERO_POINT_MAG, flux_factor, zero_point_of
from app.recipes.recipe import ImageRef
from app.services.image_psf import ImagePsfs
from app.sky.shapes import Point
from app.stores.images import ImageStore
from app.workers.inputs import read_image

NO_FAULT: Final = bits("DETECTED", "DETECTED_NEGATIVE", "NOT_DEBLENDED")
"""Mask planes that say nothing against a measurement."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """PSF photometry at a place of one image; fluxes in nJy, NaN where not known.

    ``flags``: mask planes set within one FWHM of the place, and

    - MASKED: less than half of the PSF lies on usable pixels, so nothing was measured,
    - GAUSSIAN_PSF: the PSF is not known; a Gaussian of the image's seeing stands for it,
    - NO_PSF: nor is the seeing,
    - NO_ZERO_POINT: what a unit of the image's flux is in nJy is not known,
    - UNREADABLE: the file could not be read; ``note`` says why.

    ``snr`` is known without a zero point, too. ``background`` is the flux in a pixel.
    """

    flux: float = nan
    error: float = nan
    snr: float = nan
    background: float = nan
    background_error: float = nan
    usable_share: float = nan
    edge_distance_px: float = nan
    fwhm_arcsec: float = nan
    flags: tuple[str, ...] = ()
    note: str | None = None


class ForcedPhotometer:
    """Measures places on images."""

    def __init__(self, *, images: ImageStore, psfs: ImagePsfs) -> None:
        self._images = images
        self._psfs = psfs

    def measure(
        self, ref: ImageRef, point: Point, *, subtract_background: bool = False
    ) -> Measurement | None:
        """The flux at a place; None where the image has no pixels. A file that cannot be read
        gives a measurement that says so."""
        grid = Grid.from_text(ref.grid)
        x, y = (float(each) for each in grid.sky_to_pixel(point.lon_deg, point.lat_deg))
        ny, nx = grid.shape
        if not (-0.5 <= x < nx - 0.5 and -0.5 <= y < ny - 0.5):
            return None
        empty = Measurement(edge_distance_px=edge_distance_px(grid.shape, x, y))
        try:
            profile, fwhm_px, flags = self._profile(ref, grid, x, y)
            if profile is None:
                return replace(empty, flags=flags)
            bounds = window_about(grid.shape, x, y, window_half_px(profile, fwhm_px))
            window = read_image(self._images, ref, bounds)
            found = measure_forced(
                window,
                x - bounds[2],
                y - bounds[0],
                profile,
                fwhm_px,
                subtract_background=subtract_background,
            )
        except ComputationError as fault:
            return replace(empty, flags=("UNREADABLE",), note=str(fault))
        if found.usable_share == 0.0 and found.mask & bits("NO_DATA"):
            return None
        fwhm_arcsec = fwhm_px * grid.pixel_scale_arcsec
        return _in_nanojansky(ref, found, replace(empty, flags=flags, fwhm_arcsec=fwhm_arcsec))

    def _profile(
        self, ref: ImageRef, grid: Grid, x: float, y: float
    ) -> tuple[Profile | None, float, tuple[str, ...]]:
        """The PSF at a pixel, its width, and what is to be said of it."""
        try:
            found = self._psfs.find(ref)
            if found is not None:
                profile = found[0].profile(x, y)
                return profile, profile.shape().fwhm_px, ()
        except (CoverageError, LimitError):
            pass  # no input at the place, no peak, or too large to be measured
        if ref.fwhm_arcsec is None:
            return None, nan, ("NO_PSF",)
        fwhm_px = ref.fwhm_arcsec / grid.pixel_scale_arcsec
        return Profile(gaussian_psf(fwhm_px), 1.0), fwhm_px, ("GAUSSIAN_PSF",)


def _in_nanojansky(ref: ImageRef, found: ForcedFlux, about: Measurement) -> Measurement:
    flags = [*about.flags, *_planes(found.mask & ~NO_FAULT)]
    if not isfinite(found.flux):
        flags.append("MASKED")
    scale = flux_factor(ref, NANOJANSKY_ZERO_POINT_MAG)
    if zero_point_of(ref) is None:
        flags.append("NO_ZERO_POINT")
        scale = nan
    return replace(
        about,
        flux=found.flux * scale,
        error=found.error * scale,
        snr=found.flux / found.error if found.error > 0 else nan,
        background=found.background * scale,
        background_error=found.background_error * scale,
        usable_share=found.usable_share,
        flags=tuple(flags),
    )


def _planes(mask: int) -> list[str]:
    return [name for name, bit in MASK_PLANES.items() if mask >> bit & 1]

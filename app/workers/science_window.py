"""Where a science image lies on the wider pixels of the template that is made for it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from app.pixels.grid import Grid
from app.pixels.image import MaskedImage
from app.pixels.psf_coadd import CoaddPsf, warp_psf
from app.pixels.warped import Bounds


def inner_bounds(shape: tuple[int, int], border_px: int) -> Bounds:
    """Where a science image of ``shape`` lies on a template with a border around it."""
    ny, nx = shape
    return border_px, border_px + ny, border_px, border_px + nx


def part_of(image: MaskedImage, bounds: Bounds) -> MaskedImage:
    """The pixels of ``image`` within ``bounds``."""
    y_start, y_stop, x_start, x_stop = bounds
    part = np.s_[y_start:y_stop, x_start:x_stop]
    return replace(
        image, flux=image.flux[part], variance=image.variance[part], mask=image.mask[part]
    )


def at_pixels(psf: CoaddPsf, grid: Grid, name: str) -> CoaddPsf | None:
    """``psf`` sampled at the pixels of its image, as that of a template is."""
    sampled = warp_psf(psf, grid, grid)
    return None if sampled is None else sampled.weighted(1.0, name)

"""From a reference to pixels ready to be stacked: read, sky off, one flux scale, target grid."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from app.errors import CoverageError, ImageFormatError
from app.pixels.background import sky_level
from app.pixels.grid import Grid
from app.pixels.image import MaskedImage
from app.pixels.scaling import measured_scale, rescaled
from app.pixels.warp import warp
from app.recipes.photometry import flux_factor
from app.recipes.recipe import ImageRef
from app.stores.fits_files import Bounds
from app.stores.images import ImageStore


@dataclass(frozen=True, slots=True)
class WarpedInput:
    """An input on the target grid. ``scale`` turned its stored flux into the common scale."""

    ref: ImageRef
    image: MaskedImage
    scale: float
    sky: float


def read_image(images: ImageStore, ref: ImageRef, bounds: Bounds | None = None) -> MaskedImage:
    """The pixels of a dataset, or those in ``bounds``. Raises ImageFormatError naming it."""
    try:
        return images.read(ref, bounds)
    except ImageFormatError as fault:
        raise ImageFormatError(ref.dataset_id, str(fault.args[1])) from fault


def warp_input(
    images: ImageStore,
    ref: ImageRef,
    target: Grid,
    *,
    kernel: str,
    zero_point_mag: float | None,
) -> WarpedInput:
    """Read ``ref``, take its sky level off and resample it.

    With a ``zero_point_mag`` flux is brought to it. The sky is one constant, the clipped mean of
    the image: zero for images that are background-subtracted, and whatever is added to the others
    would otherwise tear edges into the stack.

    Raises
    ------
    ImageFormatError
        The file cannot be read.
    CoverageError
        It has no usable pixel, or none on the target.
    """
    image = read_image(images, ref)
    sky = sky_level(image).mean
    factor = flux_factor(ref, zero_point_mag)
    prepared = rescaled(shifted(image, -sky), factor, zero_point_mag)
    warped = warp(prepared, Grid.from_text(ref.grid), target, kernel=kernel)
    if not warped.usable().any():
        raise CoverageError("usable pixels on the target grid", 0, 1)
    return WarpedInput(ref, warped, factor, sky)


def to_one_scale(warped: WarpedInput, reference: WarpedInput) -> WarpedInput:
    """``warped`` brought to the flux scale of ``reference`` by the sources both show.

    Raises CoverageError when nothing bright enough is in both.
    """
    if warped is reference:
        return warped
    factor = measured_scale(warped.image, reference.image).value
    return replace(warped, image=rescaled(warped.image, factor, None), scale=factor)


def shifted(image: MaskedImage, offset: float) -> MaskedImage:
    """``image`` with ``offset`` added to its flux."""
    return replace(image, flux=(image.flux + np.float32(offset)).astype(np.float32))

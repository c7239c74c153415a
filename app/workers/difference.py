"""The difference of a build: a template matched to the science image and subtracted."""

from __future__ import annotations

from dataclasses import asdict

from app.pixels.image import MaskedImage
from app.pixels.matching import Match, match
from app.pixels.subtract import Difference, subtract
from app.recipes.photometry import zero_point_of
from app.recipes.recipe import DifferenceOptions, ImageRef, InputUse
from app.stores.fits_layout import CardRow
from app.workers.product import Product, pixel_quality
from app.workers.work import Work

QUALITY_CARDS = {
    "kernel_sum": "KERNSUM",
    "scale": "PHOTSCAL",
    "stamps_used": "NSTAMPS",
    "stamps_rejected": "NSTAMREJ",
    "stamp_chi": "STAMPCHI",
    "pull_sigma": "PULLSIG",
    "variance_factor": "VARFACT",
    "bright_chi": "BRIGHCHI",
    "blank_pixels": "NBLANK",
}
"""Field of :class:`app.pixels.subtract.Quality` -> header keyword."""


def difference_product(
    work: Work,
    ref: ImageRef,
    science: MaskedImage,
    template: MaskedImage,
    uses: tuple[InputUse, ...],
) -> Product:
    """``science`` minus ``template``, both on the grid of the build.

    Raises StoppedError when the build is to stop, KernelFitError and CoverageError when the pixels
    do not allow a match.
    """
    options = work.plan.recipe.difference or DifferenceOptions()
    work.at("match", 0, 1)
    found = match(
        science,
        template,
        spatial_order=options.kernel_spatial_order,
        background_order=options.background_order,
        convolve=options.convolve,
    )
    work.at("subtract", 0, 1)
    difference = subtract(science, template, found)
    science_use = InputUse(dataset_id=ref.dataset_id, role="science", weight=None, scale=1.0)
    return Product(
        image=difference.image,
        grid=work.grid,
        uses=(science_use, *uses),
        fwhm_arcsec=work.fwhm_arcsec(difference.image.fwhm_px) or ref.fwhm_arcsec,
        zero_point_mag=zero_point_of(ref),
        bunit=ref.bunit,
        quality=(*_quality(difference), *pixel_quality(difference.image)),
        settings=_matching_cards(found, options),
    )


def _quality(difference: Difference) -> tuple[tuple[str, float], ...]:
    numbers = asdict(difference.quality)
    return tuple((card, float(numbers[name])) for name, card in QUALITY_CARDS.items())


def _matching_cards(found: Match, options: DifferenceOptions) -> tuple[CardRow, ...]:
    return (
        ("CONVOLVD", found.convolved, "image convolved to match the other"),
        ("KERNORD", options.kernel_spatial_order, "spatial order of the matching kernel"),
        ("BKGORD", options.background_order, "order of the differential background"),
    )

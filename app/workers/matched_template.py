"""The template of a build as it is subtracted, as a product of its own."""

from __future__ import annotations

from dataclasses import replace

from app.pixels.decorrelate import filtered_psf
from app.pixels.image_pairs import match_images
from app.recipes.recipe import ImageRef
from app.stores.kernel_files import KeptKernel
from app.workers.kernel_difference import Pair, kernel_cards
from app.workers.product import Product, science_product
from app.workers.work import Work


def matched_product(work: Work, ref: ImageRef, pair: Pair) -> Product:
    """The template on the pixels, the flux scale and with the PSF of the science image.

    Raises StoppedError when the build is to stop, KernelFitError and CoverageError when the pixels
    do not allow a match.
    """
    wide, found = match_images(pair.around, pair.wide, pair.match_options())
    known = pair.template.psf
    psf = pair.inner_psf(None if known is None else filtered_psf(known, found.kernel, (0, 0)))
    image = pair.inner(wide)
    if psf is not None:
        image = replace(image, fwhm_px=psf.typical_shape().fwhm_px)
    return science_product(
        work,
        ref,
        image,
        pair.template.uses,
        quality=pair.match_quality(found),
        settings=(
            ("PRODUCT", pair.options.product, "the template alone, as it would be subtracted"),
            *kernel_cards(pair.options, found),
        ),
        psf=psf,
        kernel=KeptKernel(found, pair.options.border_px),
    )

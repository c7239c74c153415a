"""The difference of a build: a template matched to the science image and subtracted."""

from __future__ import annotations

from dataclasses import replace

from app.pixels.image import MaskedImage
from app.pixels.matching import Match
from app.pixels.psf_coadd import CoaddPsf
from app.recipes.recipe import DifferenceOptions, ImageRef
from app.stores.fits_layout import CardRow
from app.stores.kernel_files import KeptKernel
from app.workers.dia_sources import with_sources
from app.workers.kernel_difference import Pair, kernel_cards, subtract_by_kernel
from app.workers.likelihood_difference import likelihood_product
from app.workers.matched_template import matched_product
from app.workers.product import Product, science_product
from app.workers.proper_difference import proper_product
from app.workers.template import Template
from app.workers.work import Work


def difference_product(
    work: Work, ref: ImageRef, science: MaskedImage, template: Template
) -> Product:
    """``science``, on the grid of the recipe, minus ``template``, which has a border around it; or
    the form of that which the recipe asks for.

    Raises StoppedError when the build is to stop, KernelFitError and CoverageError when the pixels
    do not allow a match.
    """
    options = work.plan.recipe.difference or DifferenceOptions()
    if options.method == "zogy":
        return proper_product(work, ref, science, template, options)
    work.at("match", 0, 1)
    pair = Pair.of(work, ref, science, template, options)
    if options.product == "matched":
        return matched_product(work, ref, pair)
    if options.method == "likelihood":
        return likelihood_product(work, ref, pair)
    return kernel_product(work, ref, pair)


def kernel_product(work: Work, ref: ImageRef, pair: Pair) -> Product:
    """The difference by a matching kernel.

    Its PSF is that of the image that was not convolved, and of the filter if noise is made white.
    Its sources are found and measured.
    """
    done = subtract_by_kernel(work, pair, ref.dataset_id)
    product = science_product(
        work,
        ref,
        done.image,
        pair.template.uses,
        quality=pair.quality(done.made.match, done.made.quality),
        settings=_matching_cards(done.made.match, pair.options, done.psf),
        psf=done.psf,
        kernel=KeptKernel(done.made.match, pair.options.border_px),
    )
    if product.fwhm_arcsec is None:
        product = replace(product, fwhm_arcsec=ref.fwhm_arcsec)
    return with_sources(work, ref, product, science=done.science, template=done.template)


def _matching_cards(
    found: Match, options: DifferenceOptions, psf: CoaddPsf | None
) -> tuple[CardRow, ...]:
    kept = "science" if found.convolved == "template" else "template"
    fitted = None if options.method == "snap" else options.background_order
    return (
        *kernel_cards(options, found),
        ("PSFOF", None if psf is None else kept, "image whose PSF this one has, see HDU PSF"),
        ("DECORR", options.decorrelate, "noise made white by a filter, as HDU PSF is"),
        ("BKGORD", fitted, "order of the differential background"),
    )

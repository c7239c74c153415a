"""The difference of a build: a template matched to the science image and subtracted."""

from __future__ import annotations

from dataclasses import asdict, replace

from app.pixels.bright_objects import mark_bright_objects
from app.pixels.grid import Grid
from app.pixels.image import MaskedImage
from app.pixels.matching import Match, match
from app.pixels.psf_coadd import CoaddPsf
from app.pixels.subtract import Difference, subtract
from app.pixels.warp import Window, widened
from app.recipes.photometry import zero_point_of
from app.recipes.recipe import DifferenceOptions, ImageRef, InputUse
from app.stores.fits_layout import CardRow
from app.stores.kernel_files import KeptKernel
from app.workers.dia_sources import with_sources
from app.workers.inputs import input_psf, with_width
from app.workers.product import Product, pixel_quality
from app.workers.proper_difference import proper_product
from app.workers.science_window import at_pixels, inner_bounds, part_of
from app.workers.template import Template
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
    work: Work, ref: ImageRef, science: MaskedImage, template: Template
) -> Product:
    """``science``, on the grid of the recipe, minus ``template``, which has a border around it.

    Its PSF is that of the image that was not convolved. Its sources are found and measured.

    Raises StoppedError when the build is to stop, KernelFitError and CoverageError when the pixels
    do not allow a match.
    """
    options = work.plan.recipe.difference or DifferenceOptions()
    if options.method == "zogy":
        return proper_product(work, ref, science, template, options)
    grid = Grid.from_text(work.plan.recipe.grid)
    wide, inner = template.coadd.image, inner_bounds(science.shape, options.border_px)
    own = input_psf(work.images, ref, science)
    around = widened(Window(with_width(science, own), inner, 0.0), wide.shape)
    work.at("match", 0, 1)
    found = match(
        around,
        wide,
        spatial_order=options.kernel_spatial_order,
        background_order=options.background_order,
        convolve=options.convolve,
    )
    work.at("subtract", 0, 1)
    difference = subtract(around, wide, found)
    image = mark_bright_objects(
        part_of(difference.image, inner), grid, work.plan.recipe.bright_objects
    )
    matched = part_of(difference.matched_template, inner)
    if found.convolved == "template":
        psf = None if own is None else at_pixels(own, grid, ref.dataset_id)
    else:
        psf = None if template.psf is None else template.psf.cut(inner)
    science_use = InputUse(dataset_id=ref.dataset_id, role="science", weight=None, scale=1.0)
    product = Product(
        image=image,
        grid=grid,
        uses=(science_use, *template.uses),
        fwhm_arcsec=work.fwhm_arcsec(image.fwhm_px) or ref.fwhm_arcsec,
        zero_point_mag=zero_point_of(ref),
        bunit=ref.bunit,
        quality=(*_quality(difference), *pixel_quality(image)),
        settings=_matching_cards(found, options, psf),
        psf=psf,
        kernel=KeptKernel(found, options.border_px),
    )
    shown = replace(science, fwhm_px=found.science_fwhm_px)
    return with_sources(work, ref, product, science=(shown, own), template=(matched, psf))


def _quality(difference: Difference) -> tuple[tuple[str, float], ...]:
    numbers = asdict(difference.quality)
    return tuple((card, float(numbers[name])) for name, card in QUALITY_CARDS.items())


def _matching_cards(
    found: Match, options: DifferenceOptions, psf: CoaddPsf | None
) -> tuple[CardRow, ...]:
    kept = "science" if found.convolved == "template" else "template"
    return (
        ("SUBMETH", options.method, "how the template was subtracted"),
        ("CONVOLVD", found.convolved, "image convolved to match the other"),
        ("PSFOF", None if psf is None else kept, "image whose PSF this one has, see HDU PSF"),
        ("BORDER", options.border_px, "[pix] template beyond the science image"),
        ("KERNORD", options.kernel_spatial_order, "spatial order of the matching kernel"),
        ("BKGORD", options.background_order, "order of the differential background"),
    )

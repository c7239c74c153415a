"""The difference of a build: a template matched to the science image and subtracted."""

from __future__ import annotations

import math
from dataclasses import asdict, replace

from app.pixels.bright_objects import mark_bright_objects
from app.pixels.decorrelate import Whitened, whiten, whitened_psf
from app.pixels.grid import Grid
from app.pixels.image import MaskedImage
from app.pixels.matching import Match, match
from app.pixels.psf_coadd import CoaddPsf
from app.pixels.subtract import Quality, subtract
from app.pixels.warp import Window, widened
from app.pixels.warped import Bounds
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

    Its PSF is that of the image that was not convolved, and of the filter if noise is made white.
    Its sources are found and measured.

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
    difference = subtract(around, wide, found, rescale_variance=not options.decorrelate)
    image, quality = difference.image, difference.quality
    psf = kept = _kept_psf(own, template, found, inner, grid, ref.dataset_id)
    if options.decorrelate:
        white = whiten(difference, around, wide, found, rescale_variance=True)
        image, quality = white.image, _with_noise(quality, white)
        psf = None if kept is None else whitened_psf(kept, white.psi, (inner[2], inner[0]))
    image = mark_bright_objects(part_of(image, inner), grid, work.plan.recipe.bright_objects)
    matched = part_of(difference.matched_template, inner)
    science_use = InputUse(dataset_id=ref.dataset_id, role="science", weight=None, scale=1.0)
    product = Product(
        image=image,
        grid=grid,
        uses=(science_use, *template.uses),
        fwhm_arcsec=work.fwhm_arcsec(image.fwhm_px) or ref.fwhm_arcsec,
        zero_point_mag=zero_point_of(ref),
        bunit=ref.bunit,
        quality=(*_cards(quality), *pixel_quality(image)),
        settings=_matching_cards(found, options, psf),
        psf=psf,
        kernel=KeptKernel(found, options.border_px),
    )
    shown = replace(science, fwhm_px=found.science_fwhm_px)
    return with_sources(work, ref, product, science=(shown, own), template=(matched, kept))


def _kept_psf(
    own: CoaddPsf | None, template: Template, found: Match, inner: Bounds, grid: Grid, name: str
) -> CoaddPsf | None:
    """That of the image that was not convolved, at the pixels of the science image."""
    if found.convolved == "template":
        return None if own is None else at_pixels(own, grid, name)
    return None if template.psf is None else template.psf.cut(inner)


def _with_noise(quality: Quality, white: Whitened) -> Quality:
    """The numbers of the noise are those of the whitened image."""
    return replace(
        quality,
        pull_sigma=white.pull_sigma,
        variance_factor=white.variance_factor,
        bright_chi=quality.bright_chi / math.sqrt(white.variance_factor),
    )


def _cards(quality: Quality) -> tuple[tuple[str, float], ...]:
    numbers = asdict(quality)
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
        ("DECORR", options.decorrelate, "noise made white by a filter, as HDU PSF is"),
        ("KERNORD", found.kernel.order, "spatial order of the matching kernel"),
        ("BKGORD", options.background_order, "order of the differential background"),
    )

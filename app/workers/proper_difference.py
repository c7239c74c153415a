"""The difference of a build by proper subtraction, which needs the PSFs of both images."""

from __future__ import annotations

from app.errors import CoverageError
from app.pixels.image import MaskedImage
from app.pixels.proper import ProperDifference, subtract_properly
from app.pixels.scaling import rescaled
from app.recipes.recipe import DifferenceOptions, ImageRef
from app.stores.fits_layout import CardRow
from app.workers.dia_sources import with_sources
from app.workers.inputs import input_psf
from app.workers.product import Product, science_product
from app.workers.science_window import inner_bounds, part_of
from app.workers.template import Template
from app.workers.work import Work


def proper_product(
    work: Work,
    ref: ImageRef,
    science: MaskedImage,
    template: Template,
    options: DifferenceOptions,
) -> Product:
    """``science`` minus ``template`` with white noise, the score of point sources, and those found.

    Raises StoppedError when the build is to stop, CoverageError when a PSF is not known, and what
    :func:`app.pixels.proper.subtract_properly` raises.
    """
    inner = inner_bounds(science.shape, options.border_px)
    work.at("match", 0, 1)
    own = input_psf(work.images, ref, science)
    other = None if template.psf is None else template.psf.cut(inner)
    if own is None:
        raise CoverageError("stars that show the PSF of the science image", 0, 1)
    if other is None:
        raise CoverageError("stars that show the PSF of the template", 0, 1)
    under = part_of(template.coadd.image, inner)
    done = subtract_properly(
        science,
        under,
        own,
        other,
        background_order=options.background_order,
    )
    work.at("subtract", 0, 1)
    product = science_product(
        work,
        ref,
        done.image,
        template.uses,
        quality=_quality(done),
        settings=_cards(done, options),
        psf=done.psf.weighted(1.0, ref.dataset_id),
        score=done.score,
    )
    matched = rescaled(under, done.registration.scale, done.image.zero_point_mag)
    return with_sources(work, ref, product, science=(science, own), template=(matched, other))


def _quality(done: ProperDifference) -> tuple[tuple[str, float], ...]:
    return (
        ("PHOTSCAL", done.registration.scale),
        ("NSTAMPS", float(done.registration.stars)),
        ("PULLSIG", done.noise.pull_sigma),
        ("VARFACT", done.noise.variance_factor),
        ("NBLANK", float(done.noise.blank_pixels)),
    )


def _cards(done: ProperDifference, options: DifferenceOptions) -> tuple[CardRow, ...]:
    found = done.registration
    return (
        ("SUBMETH", options.method, "how the template was subtracted"),
        ("SHIFTX", found.shift_px[0], "[pix] by which the template was off in x"),
        ("SHIFTY", found.shift_px[1], "[pix] by which the template was off in y"),
        ("SHIFTSIG", found.shift_scatter_px, "[pix] its scatter from star to star"),
        ("SCALERR", found.scale_error, "standard error of PHOTSCAL"),
        ("PSFOF", "difference", "the image that HDU PSF is of"),
        ("BORDER", options.border_px, "[pix] template beyond the science image"),
        ("BKGORD", options.background_order, "order of the differential background"),
    )

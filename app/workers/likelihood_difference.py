"""The difference of a build as a likelihood image, on which sources are found as it is."""

from __future__ import annotations

from app.errors import CoverageError
from app.pixels.likelihood import subtract_likelihood
from app.pixels.psf_coadd import CoaddPsf
from app.recipes.recipe import ImageRef
from app.stores.kernel_files import KeptKernel
from app.workers.dia_sources import with_sources
from app.workers.kernel_difference import Pair, kernel_cards, subtract_by_kernel
from app.workers.product import Product, science_product
from app.workers.science_window import at_pixels, inner_bounds
from app.workers.work import Work


def likelihood_product(work: Work, ref: ImageRef, pair: Pair) -> Product:
    """The likelihood of point sources, and those found on it, measured on the difference by a
    matching kernel.

    Raises StoppedError when the build is to stop, CoverageError when the PSF of the science image
    is not known, KernelFitError and CoverageError when the pixels do not allow a match.
    """
    options = pair.options
    measured = subtract_by_kernel(work, pair, ref.dataset_id)
    work.check()
    matching = pair.match_options()
    done = subtract_likelihood(
        pair.around,
        pair.wide,
        _psf_around(pair, ref.dataset_id),
        spatial_order=matching.spatial_order,
        background_order=matching.background_order,
        form=matching.form,
        candidates=matching.candidates,
    )
    y_start, y_stop, x_start, x_stop = inner_bounds(pair.science.shape, options.border_px)
    score = done.score.values[y_start:y_stop, x_start:x_stop]
    product = science_product(
        work,
        ref,
        pair.inner(done.image),
        pair.template.uses,
        quality=pair.quality(done.match, done.quality),
        settings=(
            *kernel_cards(options, done.match),
            ("PRECONV", "science", "image that was convolved with its own PSF first"),
            ("PSFOF", "difference", "the image that HDU PSF is of"),
            ("BKGORD", options.background_order, "order of the differential background"),
        ),
        psf=pair.inner_psf(done.psf),
        kernel=KeptKernel(done.match, options.border_px),
        score=score,
    )
    return with_sources(
        work,
        ref,
        product,
        difference=(measured.image, measured.psf),
        science=measured.science,
        template=measured.template,
        score=score,
    )


def _psf_around(pair: Pair, name: str) -> CoaddPsf:
    """The PSF of the science image at its pixels, which those of the border are counted with."""
    psf = None if pair.own is None else at_pixels(pair.own, pair.grid, name)
    (ny, nx), border = pair.science.shape, pair.options.border_px
    psf = None if psf is None else psf.cut((-border, ny + border, -border, nx + border))
    if psf is None:
        raise CoverageError("stars that show the PSF of the science image", 0, 1)
    return psf

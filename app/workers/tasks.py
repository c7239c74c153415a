"""One build in a worker: a template, or a template and a difference, written to a file.

A plan goes in, a report comes out; the database is never opened here. The same plan gives the same
bytes. ``should_stop`` is asked between inputs, between bands of a stack
and of a search for artefacts, and between stages.
"""

from __future__ import annotations

from collections.abc import Callable

from app.recipes.recipe import BuildPlan, BuildReport
from app.recipes.target import template_grid
from app.stores.fits_layout import product_fits
from app.stores.images import ImageStore
from app.stores.warps import WarpStore
from app.workers.difference import difference_product
from app.workers.engine import Progress
from app.workers.inputs import read_image
from app.workers.product import Product, build_report, header_cards, input_rows, product_region
from app.workers.sub_regions import Ahead
from app.workers.template import make_template, template_product
from app.workers.work import Limits, Work


def build(
    plan: BuildPlan,
    should_stop: Callable[[], bool],
    progress: Progress,
    images: ImageStore,
    warps: WarpStore,
    limits: Limits,
) -> BuildReport:
    """Build the product of ``plan`` in one task and write it to ``plan.output_path``.

    Raises
    ------
    StoppedError
        ``should_stop()`` became true.
    ImageFormatError
        An image cannot be read: the science image, a listed input, or so many inputs of an
        automatic choice that no template is left. The dataset is named.
    CoverageError, KernelFitError
        The pixels do not allow the product.
    StorageFullError, RemoteUnavailableError
        The disk is full, the storage does not answer; nothing is left behind.
    """
    work = Work(
        plan=plan,
        grid=template_grid(plan.recipe),
        images=images,
        warps=warps,
        limits=limits,
        should_stop=should_stop,
        progress=progress,
    )
    return build_product(work)


def build_product(work: Work, ahead: Ahead | None = None) -> BuildReport:
    """As :func:`build`, of whose stack other tasks did what ``ahead`` tells."""
    return _write(work, _make_product(work, ahead))


def _make_product(work: Work, ahead: Ahead | None) -> Product:
    ref = work.plan.science
    if ref is None:
        return template_product(work, make_template(work, ahead))
    science = read_image(work.images, ref)  # one that cannot be read is told before the stack
    return difference_product(work, ref, science, make_template(work, ahead))


def _write(work: Work, product: Product) -> BuildReport:
    work.at("write", 0, 1)
    s_region = product_region(product.image, product.grid)  # an empty one is not to be written
    content = product_fits(
        product.image,
        product.grid,
        header_cards(work.plan, product),
        input_rows(work.plan, product.uses),
        bunit=product.bunit,
        n_image=product.n_image,
        input_map=product.input_map,
        tables=product.tables,
        psf=product.psf,
        kernel=product.kernel,
        score=product.score,
        sources=product.sources,
    )
    work.check()
    written = work.images.write(work.plan.output_path, content)
    return build_report(work.plan, product, s_region, written)

"""The sources of a difference that a build made."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from app.errors import CoverageError
from app.pixels.background import sky_level
from app.pixels.dia_images import DiaImages, Layer, gaussian_coadd_psf
from app.pixels.dia_sources import DETECTIONS, THRESHOLD, find_dia_sources
from app.pixels.image import MaskedImage
from app.pixels.psf_coadd import CoaddPsf
from app.pixels.star_residual import star_residual
from app.recipes.recipe import ImageRef
from app.workers.dia_table import dia_source_rows
from app.workers.product import Product
from app.workers.work import Work

Shown = tuple[MaskedImage, CoaddPsf | None]
"""An image and its PSF; a Gaussian of its width where that is not known."""


def with_sources(
    work: Work,
    ref: ImageRef,
    product: Product,
    *,
    science: Shown,
    template: Shown,
    difference: Shown | None = None,
    score: NDArray[np.float32] | None = None,
) -> Product:
    """``product`` with its sources, which its mask then marks.

    They are measured on the ``difference``, the product itself unless it is given, and found on its
    score, or on the one that is given. ``template`` is matched, on the scale and the pixels of the
    science image. Nothing is looked for where no image shows a PSF or too few pixels are usable.

    Raises StoppedError when the build is to stop.
    """
    work.at("detect", 0, 1)
    try:
        images = _images(difference or (product.image, product.psf), science, template)
        found = find_dia_sources(images, score=score)
    except CoverageError:
        return product
    mask = _marked(product.image.mask, found.mask) if difference else found.mask
    residual = star_residual(images, _stars(product), found.score_scatter)
    rows = dia_source_rows(work.plan, ref, found.sources)
    cards = (
        ("DIATHRES", THRESHOLD, "[sigma] sources were looked for beyond this"),
        ("SCORESIG", found.score_scatter, "scatter of the score image before scaling"),
    )
    return replace(
        product,
        image=replace(product.image, mask=mask),
        sources=rows,
        quality=(
            *product.quality,
            *(() if residual is None else (("STARRES", residual),)),
            ("NDIASRC", float(len(rows))),
        ),
        settings=(*product.settings, *cards),
    )


def _marked(mask: NDArray[np.int32], found: NDArray[np.int32]) -> NDArray[np.int32]:
    """``mask`` with the planes of detections that were ``found``."""
    marked: NDArray[np.int32] = (mask & ~DETECTIONS) | (found & DETECTIONS)
    return marked


def _images(difference: Shown, science: Shown, template: Shown) -> DiaImages:
    sky = sky_level(science[0]).mean
    return DiaImages(_layer(difference), _layer(science, sky), _layer(template))


def _stars(product: Product) -> Iterator[tuple[float, float]]:
    """Those that the matching kernel was looked for on, as pixels of the product."""
    if product.kernel is not None:
        match, border = product.kernel.match, product.kernel.border_px
        for x, y in (*match.used, *match.rejected):
            yield x - border, y - border


def _layer(shown: Shown, level: float = 0.0) -> Layer:
    image, psf = shown
    if psf is None and image.fwhm_px is None:
        raise CoverageError("images with a PSF", 0, 1)
    return Layer(image, psf or gaussian_coadd_psf(image.fwhm_px or 0.0, image.shape), level)

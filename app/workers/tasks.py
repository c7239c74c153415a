"""One build in a worker: read, warp, scale, coadd, match, subtract, write.

A plan goes in, a report comes out; the database is never opened here. The same plan gives the same
bytes. ``should_stop`` is asked between inputs and between stages.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np

from app.errors import ComputationError, CoverageError, StoppedError
from app.pixels.coadd import Coadd, coadd
from app.pixels.grid import Grid
from app.pixels.image import MaskedImage
from app.pixels.matching import Match, match
from app.pixels.psf import measure_fwhm_px
from app.pixels.subtract import Difference, subtract
from app.pixels.warped import in_memory
from app.recipes.photometry import (
    NANOJANSKY,
    NANOJANSKY_ZERO_POINT_MAG,
    common_zero_point,
    zero_point_of,
)
from app.recipes.recipe import BuildPlan, BuildReport, DifferenceOptions, ImageRef, InputUse
from app.stores.fits_layout import CardRow, product_fits
from app.stores.images import ImageStore
from app.workers.engine import Progress
from app.workers.inputs import (
    WarpedInput,
    read_image,
    to_one_scale,
    warp_input,
)
from app.workers.product import (
    Product,
    build_report,
    header_cards,
    input_rows,
    pixel_quality,
    product_region,
)

NEEDED_EXPOSURES = 2
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


def build(
    plan: BuildPlan, should_stop: Callable[[], bool], progress: Progress, images: ImageStore
) -> BuildReport:
    """Build the product of ``plan`` and write it to ``plan.output_path``.

    Raises
    ------
    StoppedError
        ``should_stop()`` became true.
    ImageFormatError
        An image cannot be read: the science image, a listed input, or so many inputs of an
        automatic choice that no template is left. The dataset is named.
    CoverageError, KernelFitError
        The pixels do not allow the product.
    StorageFullError
        The disk is full; nothing is left behind.
    """
    return _Work(plan, should_stop, progress, images).build()


class _Work:
    """The stages of one build."""

    def __init__(
        self,
        plan: BuildPlan,
        should_stop: Callable[[], bool],
        progress: Progress,
        images: ImageStore,
    ) -> None:
        self._plan = plan
        self._should_stop = should_stop
        self._progress = progress
        self._images = images
        self._grid = Grid.from_text(plan.recipe.grid)
        self._rejected: dict[str, ComputationError] = {}

    def build(self) -> BuildReport:
        science_ref = self._plan.science
        science = None if science_ref is None else read_image(self._images, science_ref)
        warped = self._warp_inputs()
        self._at("coadd", 0, 1)
        stack = self._stack(warped)
        uses = self._template_uses(warped, stack)
        del warped  # as large as all the rest together
        if science is None or science_ref is None:
            product = self._template_product(stack, uses)
        else:
            product = self._difference_product(science_ref, science, stack.image, uses)
        return self._write(product)

    def _at(self, stage: str, done: int, total: int) -> None:
        """Report progress, and stop here if that is wanted."""
        if self._should_stop():
            raise StoppedError()
        self._progress(stage, done, total)

    # -- inputs -----------------------------------------------------------------------------

    def _warp_inputs(self) -> list[WarpedInput]:
        plan = self._plan
        zero_point_mag = common_zero_point(plan.inputs, plan.science)
        warped: list[WarpedInput] = []
        for number, ref in enumerate(plan.inputs):
            self._at("warp", number, len(plan.inputs))
            try:
                warped.append(
                    warp_input(
                        self._images,
                        ref,
                        self._grid,
                        kernel=plan.recipe.template.kernel,
                        zero_point_mag=zero_point_mag,
                    )
                )
            except ComputationError as fault:
                self._reject(ref, fault)
        if zero_point_mag is None:
            warped = self._measure_scales(warped)
        self._require_enough([each.ref for each in warped])
        return warped

    def _measure_scales(self, warped: list[WarpedInput]) -> list[WarpedInput]:
        """Without zero points: to the scale of the input with most usable pixels."""
        if not warped:
            return []
        reference = max(warped, key=lambda each: int(np.count_nonzero(each.image.usable())))
        scaled: list[WarpedInput] = []
        for number, each in enumerate(warped):
            self._at("scale", number, len(warped))
            try:
                scaled.append(to_one_scale(each, reference))
            except ComputationError as fault:
                self._reject(each.ref, fault)
        return scaled

    def _reject(self, ref: ImageRef, fault: ComputationError) -> None:
        """Leave an input of an automatic choice out; of a list none may be missing."""
        if not self._plan.explicit:
            self._rejected[ref.dataset_id] = fault
            return
        if isinstance(fault, CoverageError):
            what, found, needed = fault.args
            raise CoverageError(f"{ref.dataset_id}: {what}", found, needed) from fault
        raise fault

    def _require_enough(self, kept: list[ImageRef]) -> None:
        plan = self._plan
        names = [ref.dataset_id for ref in plan.inputs]
        exposure_of = dict(zip(names, plan.exposures or names, strict=True))
        left = {exposure_of[ref.dataset_id] for ref in kept}
        needed = min(NEEDED_EXPOSURES, len(set(exposure_of.values())))
        if len(left) >= needed:
            return
        unreadable = [f for f in self._rejected.values() if not isinstance(f, CoverageError)]
        if unreadable:
            raise unreadable[0]
        raise CoverageError("exposures with usable pixels on the target", len(left), needed)

    # -- template ---------------------------------------------------------------------------

    def _stack(self, warped: list[WarpedInput]) -> Coadd:
        options = self._plan.recipe.template
        return coadd(
            in_memory([each.image for each in warped]),
            statistic=options.statistic,
            clip_sigma=options.clip_sigma,
            clip_iterations=options.clip_iterations,
        )

    def _template_uses(self, warped: list[WarpedInput], stack: Coadd) -> tuple[InputUse, ...]:
        total = sum(stack.weights) or 1.0
        used = {
            each.ref.dataset_id: InputUse(
                dataset_id=each.ref.dataset_id,
                role="template",
                weight=weight / total,
                scale=each.scale,
            )
            for each, weight in zip(warped, stack.weights, strict=True)
        }
        return tuple(
            used.get(ref.dataset_id) or self._left_out(ref.dataset_id) for ref in self._plan.inputs
        )

    def _left_out(self, dataset_id: str) -> InputUse:
        fault = self._rejected[dataset_id]
        reason = f"{fault.args[1]}" if not isinstance(fault, CoverageError) else str(fault)
        return InputUse(
            dataset_id=dataset_id, role="template", weight=None, scale=None, rejected=reason
        )

    def _template_product(self, stack: Coadd, uses: tuple[InputUse, ...]) -> Product:
        options = self._plan.recipe.template
        image = stack.image
        known = image.zero_point_mag is not None
        covered = stack.n_image > 0
        quality = (
            ("DEPTH", float(np.median(stack.n_image[covered])) if covered.any() else 0.0),
            ("CLIPPED", float(np.average(stack.clipped_fraction))),
            *pixel_quality(image),
        )
        return Product(
            image=image,
            grid=self._grid,
            uses=uses,
            fwhm_arcsec=self._fwhm_arcsec(image),
            zero_point_mag=NANOJANSKY_ZERO_POINT_MAG if known else None,
            bunit=NANOJANSKY if known else self._plan.inputs[0].bunit,
            quality=quality,
            settings=(
                ("RESAMPLE", options.kernel, "resampling kernel"),
                ("STATISTC", options.statistic, "how inputs were combined"),
                ("CLIPSIG", options.clip_sigma, "clipping limit"),
            ),
        )

    # -- difference -------------------------------------------------------------------------

    def _difference_product(
        self, ref: ImageRef, science: MaskedImage, template: MaskedImage, uses: tuple[InputUse, ...]
    ) -> Product:
        options = self._plan.recipe.difference or DifferenceOptions()
        self._at("match", 0, 1)
        found = match(
            science,
            template,
            spatial_order=options.kernel_spatial_order,
            background_order=options.background_order,
            convolve=options.convolve,
        )
        self._at("subtract", 0, 1)
        difference = subtract(science, template, found)
        science_use = InputUse(dataset_id=ref.dataset_id, role="science", weight=None, scale=1.0)
        return Product(
            image=difference.image,
            grid=self._grid,
            uses=(science_use, *uses),
            fwhm_arcsec=self._fwhm_arcsec(difference.image, measure=False) or ref.fwhm_arcsec,
            zero_point_mag=zero_point_of(ref),
            bunit=ref.bunit,
            quality=(*_difference_quality(difference), *pixel_quality(difference.image)),
            settings=_matching_cards(found, options),
        )

    # -- output -----------------------------------------------------------------------------

    def _fwhm_arcsec(self, image: MaskedImage, *, measure: bool = True) -> float | None:
        fwhm_px = image.fwhm_px
        if fwhm_px is None and measure:
            fwhm_px = measure_fwhm_px(image)
        return None if fwhm_px is None else float(fwhm_px * self._grid.pixel_scale_arcsec)

    def _write(self, product: Product) -> BuildReport:
        self._at("write", 0, 1)
        product_region(product.image, product.grid)  # refuse an empty product before it is written
        content = product_fits(
            product.image,
            product.grid,
            header_cards(self._plan, product),
            input_rows(self._plan, product.uses),
            bunit=product.bunit,
        )
        if self._should_stop():
            raise StoppedError()
        written = self._images.write(Path(self._plan.output_path), content)
        return build_report(self._plan, product, written)


def _difference_quality(difference: Difference) -> tuple[tuple[str, float], ...]:
    numbers = asdict(difference.quality)
    return tuple((card, float(numbers[name])) for name, card in QUALITY_CARDS.items())


def _matching_cards(found: Match, options: DifferenceOptions) -> tuple[CardRow, ...]:
    return (
        ("CONVOLVD", found.convolved, "image convolved to match the other"),
        ("KERNORD", options.kernel_spatial_order, "spatial order of the matching kernel"),
        ("BKGORD", options.background_order, "order of the differential background"),
    )

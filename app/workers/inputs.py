"""From a reference to an exposure on the target grid: read, sky off, one flux scale, kept."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace

from app.errors import CoverageError, ImageFormatError
from app.pixels.adjusted import Adjusted, Surface
from app.pixels.background import sky_level
from app.pixels.coverage import coverage_of
from app.pixels.grid import Grid
from app.pixels.image import MaskedImage
from app.pixels.mapping import overlap_bounds
from app.pixels.mask_runs import MaskRuns
from app.pixels.psf import measure_psf_field
from app.pixels.psf_coadd import CoaddPsf, warp_psf
from app.pixels.scaling import measured_scale
from app.pixels.warp import warp_window
from app.pixels.warped import input_weight
from app.recipes.photometry import exposure_time_ratio, flux_factor
from app.recipes.recipe import RECIPE_VERSION, ImageRef
from app.stores.fits_files import Bounds
from app.stores.images import ImageStore
from app.stores.warps import StoredWarp
from app.workers.work import Work


@dataclass(frozen=True, slots=True)
class WarpedInput:
    """An input on the target grid. ``scale`` turned its stored flux into the common scale."""

    ref: ImageRef
    stored: StoredWarp
    warped: Adjusted
    scale: float

    def adjusted(self, factor: float, background: Surface | None) -> WarpedInput:
        """The same with its warp times ``factor``, and ``background`` then taken off."""
        return replace(
            self,
            warped=Adjusted(self.stored, factor, background),
            scale=self.stored.facts.scale * factor,
        )


def read_image(images: ImageStore, ref: ImageRef, bounds: Bounds | None = None) -> MaskedImage:
    """The pixels of a dataset, or those in ``bounds``. Raises ImageFormatError naming it."""
    try:
        return images.read(ref, bounds)
    except ImageFormatError as fault:
        raise ImageFormatError(ref.dataset_id, str(fault.args[1])) from fault


def warp_input(
    work: Work, ref: ImageRef, zero_point_mag: float | None, *, verify: bool = True
) -> WarpedInput:
    """Read ``ref``, take its sky level off and resample it; or find that done by an earlier build.

    With a ``zero_point_mag`` flux is brought to it. The sky is one constant, the clipped mean of
    the image: zero for images that are background-subtracted, and whatever is added to the others
    would otherwise tear edges into the stack. Pixels that are NaN or whose variance is not above 0
    are no data. Without ``verify`` a warp is taken for whole, as one that was just made is.

    Raises
    ------
    ImageFormatError
        The file cannot be read.
    CoverageError
        It has no usable pixel, or none on the target.
    """
    key = warp_key(work, ref, zero_point_mag)
    stored = work.warps.find(key, verify=verify) or _make_warp(work, key, ref, zero_point_mag)
    return WarpedInput(ref, stored, Adjusted(stored), stored.facts.scale)


def _make_warp(work: Work, key: str, ref: ImageRef, zero_point_mag: float | None) -> StoredWarp:
    work.check()
    image = replace(read_image(work.images, ref), zero_point_mag=zero_point_mag)
    work.check()
    grid = Grid.from_text(ref.grid)
    own = input_psf(work.images, ref, image) if overlap_bounds(grid, work.grid) else None
    work.check()
    sky, scale = sky_level(image).mean, flux_factor(ref, zero_point_mag)
    window = warp_window(
        image,
        grid,
        work.grid,
        kernel=work.plan.recipe.template.kernel,
        sky=sky,
        scale=scale,
    )
    del image  # two exposures at once are what a build's memory goes to
    weight = 0.0 if window is None else input_weight(window.image)
    if window is None or weight == 0.0:
        raise CoverageError("usable pixels on the target grid", 0, 1)
    psf = None if own is None else warp_psf(own, grid, work.grid)
    window = replace(window, image=with_width(window.image, psf))
    runs = MaskRuns.of(window.image)
    return work.warps.add(
        key,
        window,
        work.grid.shape,
        weight=weight,
        sky=sky,
        scale=scale,
        runs=runs,
        coverage=coverage_of(runs, window.bounds, work.grid),
        psf=psf,
    )


def input_psf(
    images: ImageStore, ref: ImageRef, image: MaskedImage, bounds: Bounds | None = None
) -> CoaddPsf | None:
    """The PSF that the file brings, or what the stars of ``image`` show; None without either.

    ``image`` is the whole one, or its part in ``bounds``, whose pixels the PSF then counts.
    """
    stored = stored_psf(images, ref)
    if stored is not None:
        return stored if bounds is None else stored.cut(bounds)
    return shown_psf(image)


def stored_psf(images: ImageStore, ref: ImageRef) -> CoaddPsf | None:
    """The PSF that the file brings; one that cannot be read counts as none."""
    try:
        return images.read_psf(ref)
    except ImageFormatError:
        return None


def shown_psf(image: MaskedImage) -> CoaddPsf | None:
    """The PSF that the stars of ``image`` show."""
    field = measure_psf_field(image)
    return None if field is None else CoaddPsf.of_one(field, image.shape)


def with_width(image: MaskedImage, psf: CoaddPsf | None) -> MaskedImage:
    """``image`` with the width of its PSF, where that is known."""
    if psf is None:
        return image
    try:
        return replace(image, fwhm_px=psf.typical_shape().fwhm_px)
    except CoverageError:  # a PSF that came with the file may show no peak
        return image


def warp_key(work: Work, ref: ImageRef, zero_point_mag: float | None) -> str:
    """Names a warp by everything that its pixels follow from."""
    told = [
        RECIPE_VERSION,
        ref.to_text(),
        work.grid.to_text(),
        work.plan.recipe.template.kernel,
        zero_point_mag,
    ]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:32]


def to_one_scale(each: WarpedInput, reference: WarpedInput) -> WarpedInput:
    """``each`` brought to the flux scale of ``reference`` by the sources both show.

    Where nothing bright enough is in both, by their exposure times. Raises CoverageError when
    these are not known either.
    """
    if each is reference:
        return each
    try:
        factor = measured_scale(each.warped, reference.warped).value
    except CoverageError:
        ratio = exposure_time_ratio(each.ref, reference.ref)
        if ratio is None:
            raise
        factor = ratio
    return each.adjusted(factor, None)

"""The pixels of a build's difference by a matching kernel, before it is a product."""

from __future__ import annotations

from dataclasses import dataclass, replace

from app.pixels.decorrelate import filtered_psf
from app.pixels.grid import Grid
from app.pixels.image import MaskedImage
from app.pixels.image_pairs import MatchOptions, SubtractedImages, subtract_matched
from app.pixels.kernels import SNAP, SNAP_SIZE_PX, KernelForm
from app.pixels.matching import Match
from app.pixels.psf_coadd import CoaddPsf
from app.pixels.subtract import Quality
from app.pixels.warp import Window, widened
from app.recipes.recipe import DifferenceOptions, ImageRef
from app.stores.fits_layout import CardRow
from app.workers.dia_sources import Shown
from app.workers.inputs import input_psf, with_width
from app.workers.science_window import at_pixels, inner_bounds, part_of
from app.workers.template import Template
from app.workers.work import Work


@dataclass(frozen=True, slots=True)
class Pair:
    """The science image of a build with a border of pixels without data around it, on the pixels
    of the template; ``own`` is its PSF, if that is known."""

    science: MaskedImage
    around: MaskedImage
    template: Template
    own: CoaddPsf | None
    grid: Grid
    options: DifferenceOptions

    @classmethod
    def of(
        cls,
        work: Work,
        ref: ImageRef,
        science: MaskedImage,
        template: Template,
        options: DifferenceOptions,
    ) -> Pair:
        own = input_psf(work.images, ref, science)
        inner = inner_bounds(science.shape, options.border_px)
        around = widened(Window(with_width(science, own), inner, 0.0), template.coadd.image.shape)
        return cls(science, around, template, own, Grid.from_text(work.plan.recipe.grid), options)

    @property
    def wide(self) -> MaskedImage:
        """The template, border and all."""
        return self.template.coadd.image

    def inner(self, image: MaskedImage) -> MaskedImage:
        """The part of an image that has the pixels of the science image."""
        return part_of(image, inner_bounds(self.science.shape, self.options.border_px))

    def inner_psf(self, psf: CoaddPsf | None) -> CoaddPsf | None:
        """A PSF at those pixels."""
        bounds = inner_bounds(self.science.shape, self.options.border_px)
        return None if psf is None else psf.cut(bounds)

    def match_options(self) -> MatchOptions:
        """How the two are matched."""
        options = self.options
        snap = options.method == "snap"
        return MatchOptions(
            spatial_order=0 if snap else options.kernel_spatial_order,
            background_order=None if snap else options.background_order,
            convolve=options.convolve,
            form=_form(options),
            candidates=self._candidates(),
            science_fwhm_px=self._pixels(options.science_fwhm_arcsec),
            template_fwhm_px=self._pixels(options.template_fwhm_arcsec),
        )

    def _pixels(self, width_arcsec: float | None) -> float | None:
        return None if width_arcsec is None else width_arcsec / self.grid.pixel_scale_arcsec

    def match_quality(self, found: Match) -> tuple[tuple[str, float], ...]:
        """Header keywords and numbers of a match."""
        widths_px = {"SCIFWHM": found.science_fwhm_px, "TMPFWHM": found.template_fwhm_px}
        return (
            ("KERNSUM", found.kernel.sum),
            ("KSUMSIG", found.sum_scatter),
            ("PHOTSCAL", found.scale),
            ("NSTAMPS", float(len(found.used))),
            ("NSTAMREJ", float(len(found.rejected) + len(found.unfit))),
            ("STAMPCHI", found.stamp_chi),
            *(
                (card, width_px * self.grid.pixel_scale_arcsec)
                for card, width_px in widths_px.items()
                if width_px is not None
            ),
        )

    def quality(self, found: Match, quality: Quality) -> tuple[tuple[str, float], ...]:
        """The same, and what the difference tells."""
        return (
            *self.match_quality(found),
            ("PULLSIG", quality.pull_sigma),
            ("VARFACT", quality.variance_factor),
            ("BRIGHCHI", quality.bright_chi),
            ("NBLANK", float(quality.blank_pixels)),
        )

    def _candidates(self) -> list[tuple[float, float]] | None:
        if not self.options.candidates:
            return None
        lon, lat = zip(*self.options.candidates, strict=True)
        x, y = (v + self.options.border_px for v in self.grid.sky_to_pixel(lon, lat))
        return list(zip(x.tolist(), y.tolist(), strict=True))


def _form(options: DifferenceOptions) -> KernelForm:
    snap = options.method == "snap"
    if options.kernel_basis == "gaussians":
        return SNAP if snap else KernelForm()
    return KernelForm(
        basis="delta",
        size_px=SNAP_SIZE_PX if snap else None,
        regularisation=options.kernel_lambda,
    )


@dataclass(frozen=True, slots=True)
class KernelDifference:
    """``image`` and ``psf`` of the difference, on the pixels of the science image; what its sources
    are measured on beside it: ``science`` and the matched ``template``."""

    made: SubtractedImages
    image: MaskedImage
    psf: CoaddPsf | None
    science: Shown
    template: Shown


def subtract_by_kernel(work: Work, pair: Pair, name: str) -> KernelDifference:
    """The template matched to the science image ``name`` and subtracted.

    Raises StoppedError when the build is to stop, KernelFitError and CoverageError when the pixels
    do not allow a match.
    """
    options = pair.options
    found = pair.match_options().match(pair.around, pair.wide)
    work.at("subtract", 0, 1)
    made = subtract_matched(pair.around, pair.wide, found, decorrelate=options.decorrelate)
    if made.match.convolved == "template":
        kept = None if pair.own is None else at_pixels(pair.own, pair.grid, name)
    else:
        kept = pair.inner_psf(pair.template.psf)
    psf = kept
    if made.psi is not None and kept is not None:
        psf = filtered_psf(kept, made.psi, (options.border_px, options.border_px))
    return KernelDifference(
        made,
        pair.inner(made.image),
        psf,
        (replace(pair.science, fwhm_px=made.match.science_fwhm_px), pair.own),
        (pair.inner(made.matched_template), kept),
    )


def kernel_cards(options: DifferenceOptions, found: Match) -> tuple[CardRow, ...]:
    """How the template was brought to the science image."""
    free = options.kernel_basis == "delta"
    return (
        ("SUBMETH", options.method, "how the template was subtracted"),
        ("CONVOLVD", found.convolved, "image convolved to match the other"),
        ("BORDER", options.border_px, "[pix] template beyond the science image"),
        ("KERNORD", found.kernel.order, "spatial order of the matching kernel"),
        ("KERNBAS", options.kernel_basis if free else None, "elements of the matching kernel"),
        ("KERNLAM", options.kernel_lambda if free else None, "regularisation, for each star"),
        ("SHARPENS", found.sharpens or None, "the broader image was convolved: noise amplified"),
    )

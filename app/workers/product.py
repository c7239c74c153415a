"""What a product says of itself: header cards, the table of its inputs, the build report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from app import __version__
from app.errors import CoverageError
from app.pixels.bright_objects import mark_bright_objects
from app.pixels.grid import Grid
from app.pixels.image import MaskedImage, lattice
from app.pixels.psf_coadd import CoaddPsf
from app.recipes.photometry import zero_point_of
from app.recipes.recipe import BuildPlan, BuildReport, ImageRef, InputUse, PlaneRef
from app.schema.rows import SourceRow
from app.sky.stcs import format_region
from app.stores.fits_layout import CardRow, Cell
from app.stores.kept_files import KeptFile
from app.stores.kernel_files import KeptKernel
from app.workers.work import Work

IMAGE_HDU, MASK_HDU, VARIANCE_HDU = 1, 2, 3

QUALITY_COMMENTS: Final = {
    "DEPTH": "median number of inputs of a pixel with data",
    "CLIPPED": "share of the inputs' pixels that were clipped",
    "COVERAGE": "share of the pixels that have data",
    "MASKED": "share of these whose mask makes them useless",
    "NOISE": "median noise of a pixel, in BUNIT of IMAGE",
    "WCSERR": "[pix] largest error of the mapped positions",
    "BOXNOISE": "noise of boxes over that of independent pixels",
    "EFFTIME": "[s] mean effective exposure time of a pixel",
    "NPSF": "inputs whose PSF is part of HDU PSF",
    "NPSFSTAR": "stars that these PSFs were measured on",
    "KERNSUM": "sum of the matching kernel",
    "KSUMSIG": "its scatter from star to star",
    "PHOTSCAL": "science flux per template flux",
    "NSTAMPS": "stars that the kernel was fitted to",
    "NSTAMREJ": "stars that did not fit",
    "STAMPCHI": "reduced chi2 of the fitted stars",
    "SCIFWHM": "[arcsec] width of the science image's PSF",
    "TMPFWHM": "[arcsec] width of the template's PSF",
    "PULLSIG": "scatter of IMAGE/error outside sources",
    "VARFACT": "factor put on the variance to make PULLSIG 1",
    "BRIGHCHI": "rms of IMAGE/error on the brightest pixels",
    "NBLANK": "pixels outside sources",
    "STARRES": "scatter of residual / star flux, beyond noise",
    "NDIASRC": "sources that were found, see HDU DIASOURCES",
}
"""Comments on the cards that tell how good a product is."""
COUNTS: Final = frozenset({"NPSF", "NPSFSTAR", "NSTAMPS", "NSTAMREJ", "NBLANK", "NDIASRC"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """A finished image with what is known of it."""

    image: MaskedImage
    grid: Grid
    uses: tuple[InputUse, ...]
    fwhm_arcsec: float | None
    zero_point_mag: float | None
    bunit: str | None
    quality: tuple[tuple[str, float], ...]
    """Upper-case FITS keyword (at most 8 characters) -> number."""
    settings: tuple[CardRow, ...]
    """Cards that name how it was made."""
    n_image: NDArray[np.int32] | None = None
    """How many inputs have a good pixel there, of a template."""
    input_map: NDArray[np.uint8] | None = None
    """Which inputs these are, see :func:`app.pixels.input_map.input_map`."""
    tables: Mapping[str, Sequence[Mapping[str, Cell]]] = field(default_factory=dict)
    """Further tables by the name of their HDU."""
    psf: CoaddPsf | None = None
    kernel: KeptKernel | None = None
    score: NDArray[np.float32] | None = None
    """Significance of a point source at each pixel, of a proper subtraction or a likelihood."""
    sources: tuple[SourceRow, ...] | None = None
    """Of a difference; None where they could not be looked for."""


def science_product(
    work: Work,
    ref: ImageRef,
    image: MaskedImage,
    template_uses: Sequence[InputUse],
    *,
    quality: tuple[tuple[str, float], ...],
    settings: tuple[CardRow, ...],
    psf: CoaddPsf | None,
    kernel: KeptKernel | None = None,
    score: NDArray[np.float32] | None = None,
) -> Product:
    """``image`` on the pixels and the flux scale of the science image ``ref``, with bright objects
    marked; ``quality`` is completed by what its pixels tell."""
    grid = Grid.from_text(work.plan.recipe.grid)
    image = mark_bright_objects(image, grid, work.plan.recipe.bright_objects)
    science_use = InputUse(dataset_id=ref.dataset_id, role="science", weight=None, scale=1.0)
    return Product(
        image=image,
        grid=grid,
        uses=(science_use, *template_uses),
        fwhm_arcsec=work.fwhm_arcsec(image.fwhm_px),
        zero_point_mag=zero_point_of(ref),
        bunit=ref.bunit,
        quality=(*quality, *pixel_quality(image)),
        settings=settings,
        psf=psf,
        kernel=kernel,
        score=score,
    )


@dataclass(frozen=True, slots=True)
class Times:
    """MJD of the first start and the last end, and the exposure time (s)."""

    t_min: float | None
    t_max: float | None
    exposure_s: float | None


def product_times(plan: BuildPlan, uses: Sequence[InputUse]) -> Times:
    """Of a difference those of the science image; of a template, also of one that was matched to an
    image, those its inputs span."""
    options = plan.recipe.difference
    if plan.science is not None and (options is None or options.product == "difference"):
        return Times(plan.science.t_min, plan.science.t_max, plan.science.exposure_s)
    used = {use.dataset_id for use in uses if use.rejected is None}
    exposure_of = plan.exposure_of()
    by_exposure: dict[str, ImageRef] = {}
    for ref in plan.inputs:
        if ref.dataset_id in used:
            by_exposure.setdefault(exposure_of[ref.dataset_id], ref)
    kept = list(by_exposure.values())
    starts = [ref.t_min for ref in kept if ref.t_min is not None]
    ends = [ref.t_max for ref in kept if ref.t_max is not None]
    lengths = [ref.exposure_s for ref in kept if ref.exposure_s is not None]
    return Times(
        min(starts) if starts else None,
        max(ends) if ends else None,
        sum(lengths) if len(lengths) == len(kept) else None,
    )


def header_cards(plan: BuildPlan, product: Product) -> list[CardRow]:
    """Cards of the primary header. No date: the same recipe gives the same bytes."""
    recipe, times = plan.recipe, product_times(plan, product.uses)
    templates = [use for use in product.uses if use.role == "template"]
    used = sum(use.rejected is None for use in templates)
    cards: list[CardRow] = [
        ("ORIGIN", "Skyloom", "made by"),
        ("SWVERS", __version__, "version of Skyloom"),
        ("PRODKIND", recipe.kind, "template or difference"),
        ("RECIPE", recipe.key(), "content hash of the recipe"),
        ("OBSPUBID", plan.dataset_id, ""),
        ("BAND", recipe.band, "band"),
        ("NINPUT", used, "template inputs that took part"),
        ("NREJECT", len(templates) - used, "template inputs that were left out"),
        ("MJD-BEG", times.t_min, "[d] start of the first exposure"),
        ("MJD-END", times.t_max, "[d] end of the last exposure"),
        ("EXPTIME", times.exposure_s, "[s] total exposure time"),
        ("FWHM", product.fwhm_arcsec, "[arcsec] full width at half maximum of the PSF"),
        ("MAGZERO", product.zero_point_mag, "[mag] AB magnitude of one flux unit"),
        ("TRACT", plan.tract, "tract of the sky map"),
        ("PATCH", plan.patch, "patch of the tract"),
        ("SCIENCE", None if plan.science is None else plan.science.dataset_id, ""),
    ]
    return [*cards, *product.settings, *map(_quality_card, product.quality)]


def _quality_card(told: tuple[str, float]) -> CardRow:
    name, value = told
    return name, int(value) if name in COUNTS else value, QUALITY_COMMENTS[name]


def input_rows(plan: BuildPlan, uses: Sequence[InputUse]) -> list[Mapping[str, Cell]]:
    """The INPUTS table: which dataset took part how, or why it did not."""
    refs = {ref.dataset_id: ref for ref in plan.inputs}
    if plan.science is not None:
        refs[plan.science.dataset_id] = plan.science
    return [_input_row(use, refs[use.dataset_id]) for use in uses]


def _input_row(use: InputUse, ref: ImageRef) -> Mapping[str, Cell]:
    return {
        "dataset_id": use.dataset_id,
        "role": use.role,
        "weight": use.weight,
        "scale": use.scale,
        "rejected": use.rejected or "",
        "mjd_beg": ref.t_min,
        "mjd_end": ref.t_max,
        "exptime_s": ref.exposure_s,
        "fwhm_arcsec": ref.fwhm_arcsec,
        "zero_point_mag": ref.zero_point_mag,
        "checksum": ref.checksum,
    }


def pixel_quality(image: MaskedImage) -> tuple[tuple[str, float], ...]:
    """Fraction of pixels with data (COVERAGE), of these the fraction that is not usable (MASKED),
    and median noise of usable ones (NOISE)."""
    noise = float("nan")
    for part in (lattice(image), image):
        usable = part.usable()
        if usable.any():
            noise = float(np.sqrt(np.median(part.variance[usable])))
            break
    held, good = np.count_nonzero(image.has_data()), np.count_nonzero(image.usable())
    masked = 1.0 - good / held if held else float("nan")
    return ("COVERAGE", held / image.flux.size), ("MASKED", masked), ("NOISE", noise)


def product_region(image: MaskedImage, grid: Grid) -> str:
    """s_region of the pixels that have data. Raises CoverageError when there is none."""
    valid = image.has_data()
    if not valid.any():
        raise CoverageError("pixels with data in the product", 0, 1)
    return format_region(grid.footprint(valid))


def build_report(
    plan: BuildPlan, product: Product, s_region: str, written: KeptFile
) -> BuildReport:
    """What the service needs to publish the product, whose pixels with data are in ``s_region``."""
    times = product_times(plan, product.uses)
    path = plan.output_path
    planes = (
        PlaneRef(path=path, hdu=IMAGE_HDU, role="image"),
        PlaneRef(path=path, hdu=MASK_HDU, role="mask"),
        PlaneRef(path=path, hdu=VARIANCE_HDU, role="variance"),
    )
    return BuildReport(
        dataset_id=plan.dataset_id,
        path=path,
        size_bytes=written.size_bytes,
        mtime_ns=written.mtime_ns,
        checksum=written.checksum,
        s_region=s_region,
        grid=product.grid.to_text(),
        planes=planes,
        fwhm_arcsec=product.fwhm_arcsec,
        zero_point_mag=product.zero_point_mag,
        bunit=product.bunit,
        t_min=times.t_min,
        t_max=times.t_max,
        exposure_s=times.exposure_s,
        uses=product.uses,
        quality=product.quality,
        sources=product.sources or (),
    )

"""How the builds of an image are called, as DataLink service descriptors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from urllib.parse import quote

from app.recipes.matching_parameters import MAX_BORDER_PX, MAX_ORDER, choices
from app.recipes.recipe import DifferenceOptions, TemplateOptions
from app.recipes.selection import LEAST_INPUTS, MAX_IDS
from app.schema.rows import DatasetRow
from app.services.described import identifier_input
from app.votable.descriptors import (
    InputParameter,
    ServiceDescriptor,
    interval_input,
    number_input,
)

_TITLES: Final = {
    "template": "Template on the pixels of this image, from other exposures of the band",
    "difference": "Difference: this image minus a template matched to it",
}
_UWS_TYPE: Final = "application/xml"
_FITS_TYPE: Final = "application/fits"
_SEEING: Final = "instr.obsty.seeing"
_MAG: Final = "phot.mag"
_TRUTH: Final = ("true", "false")
_PLAN: Final = InputParameter(
    name="PLAN",
    description="true: answer with what would be built (VOTable or JSON), and build nothing",
    options=_TRUTH,
)
_TIME: Final = "time.interval;obs.exposure"
_BORDERS: Final = {
    "template": "",
    "difference": f" while it is matched ({DifferenceOptions().border_px} unless given)",
}


def build_descriptors(
    rows: Sequence[DatasetRow], service_url: str
) -> tuple[ServiceDescriptor, ...]:
    """Template and difference of images, each answered at once (sync) or as a job (async)."""
    return tuple(
        _descriptor(rows, service_url, kind, mode) for kind in _TITLES for mode in ("sync", "async")
    )


def _descriptor(
    rows: Sequence[DatasetRow], service_url: str, kind: str, mode: str
) -> ServiceDescriptor:
    address = f"{service_url}/builds/{kind}/{mode}"
    how = (
        "answers with the FITS file"
        if mode == "sync"
        else "makes a job of what is POSTed (UWS 1.1)"
    )
    example = f"{address}?ID={quote(rows[0].dataset_id, safe='')}"
    return ServiceDescriptor(
        resource_id=f"{kind}_{mode}",
        name=f"{kind}-{mode}",
        access_url=address,
        description=f"{_TITLES[kind]}; {how}",
        content_type=_FITS_TYPE if mode == "sync" else _UWS_TYPE,
        example_urls=(example,) if mode == "sync" else (),
        inputs=build_inputs(rows, kind),
    )


def build_inputs(rows: Sequence[DatasetRow], kind: str) -> tuple[InputParameter, ...]:
    """What a build of ``kind`` is asked, of these images or (without any) in general."""
    return (
        identifier_input(rows, "The science image"),
        *_selection(rows),
        *_options(kind),
        *(_matching() if kind == "difference" else ()),
        _PLAN,
    )


def _selection(rows: Sequence[DatasetRow]) -> tuple[InputParameter, ...]:
    found = {row.columns.get("lsst_band") for row in rows}
    bands = tuple(sorted(str(band) for band in found if band is not None))
    return (
        InputParameter(
            name="BAND",
            value=bands[0] if len(found) == len(bands) == 1 else "",
            ucd="meta.id;instr.filter",
            description="Band of the template",
            options=bands,
        ),
        number_input(
            "FWHM_FRACTION",
            "Use this fraction of the exposures, those with the best seeing",
            limits=("0", "1"),
        ),
        number_input(
            "MAX_INPUTS",
            "Use this many exposures at most, those with the best seeing",
            datatype="int",
            limits=(str(LEAST_INPUTS), str(MAX_IDS)),
        ),
        number_input("FWHM_MIN", "Leave out sharper images", "arcsec", _SEEING, limits=("0", None)),
        number_input("FWHM_MAX", "Leave out blurred images", "arcsec", _SEEING, limits=("0", None)),
        interval_input(
            "EXPTIME", "Use only exposures of this length", "s", "time.duration;obs.exposure"
        ),
        number_input(
            "EFFTIME_MIN",
            "Leave out images that are worth less than this exposure time under the median "
            "conditions of all",
            "s",
            "time.duration;obs.exposure",
            limits=("0", None),
        ),
        interval_input("ZEROPOINT", "Use only images with a zero point in this range", "mag", _MAG),
        number_input("DEPTH_MIN", "Leave out images of a brighter 5 sigma depth", "mag", _MAG),
        interval_input(
            "TIME", "Use only exposures in this range of MJD; may be repeated", "d", _TIME
        ),
        interval_input(
            "EXCLUDE_TIME", "Leave out exposures in this range of MJD; may be repeated", "d", _TIME
        ),
        InputParameter(
            name="TEMPLATE_IDS",
            ucd="meta.id",
            description="Use exactly these exposures: identifiers separated by commas",
        ),
    )


def _options(kind: str) -> tuple[InputParameter, ...]:
    """How the inputs are resampled and combined."""
    offered = (
        ("STATISTIC", choices(TemplateOptions, "statistic"), "How the exposures are combined"),
        ("KERNEL", choices(TemplateOptions, "kernel"), "The kernel by which they are resampled"),
        ("WARP", choices(TemplateOptions, "warp"), "Warps as they are, or all of one PSF"),
        ("MODEL_PSF", choices(TemplateOptions, "model_psf"), "The one PSF of WARP=psfmatched"),
        ("BACKGROUND_MATCHING", _TRUTH, "Whether backgrounds are matched where exposures overlap"),
        ("INPUTS", choices(TemplateOptions, "source"), "Exposures, or the templates of patches"),
    )
    words = tuple(
        InputParameter(name=name, description=told, options=allowed)
        for name, allowed, told in offered
    )
    border = number_input(
        "BORDER",
        f"Pixels by which the template reaches beyond the science image{_BORDERS[kind]}",
        "pix",
        datatype="int",
        limits=("0", str(MAX_BORDER_PX)),
    )
    model = number_input(
        "MODEL_FWHM",
        "FWHM of the PSF that WARP=psfmatched gives; else a tenth more than the worst input's",
        "arcsec",
        _SEEING,
        limits=("0", None),
    )
    return (*words, model, border, *_BRIGHT)


_BRIGHT: Final = (
    InputParameter(
        name="BRIGHT_OBJECTS",
        ucd="meta.table",
        description="A table here with ra, dec and radius, width and height, or mag: to be marked",
    ),
    InputParameter(
        name="BRIGHT_REGIONS",
        ucd="pos.outline;obs",
        description="Text of a DS9 region file of circles and boxes: to be marked in the mask",
    ),
)


def _matching() -> tuple[InputParameter, ...]:
    words = (
        (
            "METHOD",
            choices(DifferenceOptions, "method"),
            "By a kernel, by both PSFs (zogy), by one small kernel for exposures of one visit "
            "(snap), or as the likelihood of point sources",
        ),
        ("PRODUCT", choices(DifferenceOptions, "product"), "The difference, or its template alone"),
        ("CONVOLVE", choices(DifferenceOptions, "convolve"), "Which image is convolved"),
        (
            "KERNEL_BASIS",
            choices(DifferenceOptions, "kernel_basis"),
            "Gaussians times polynomials, or free pixels",
        ),
        ("DECORRELATE", _TRUTH, "Whether noise is made white, where a kernel is fitted"),
        ("WARP_TEMPLATE", _TRUTH, "false: refuse what is not on the image's pixels already"),
    )
    orders = (
        ("KERNEL_ORDER", "Order of the polynomial by which the kernel changes over the image"),
        ("BACKGROUND_ORDER", "Order of the polynomial of the differential background"),
    )
    return (
        *(
            InputParameter(name=name, description=description, options=options)
            for name, options, description in words
        ),
        *(
            InputParameter(
                name=name,
                datatype="int",
                arraysize=None,
                description=description,
                minimum="0",
                maximum=str(MAX_ORDER),
            )
            for name, description in orders
        ),
        number_input(
            "KERNEL_LAMBDA", "How strongly free pixels are held together", limits=("0", None)
        ),
        *(
            number_input(
                f"{image}_FWHM",
                f"Width of the PSF of the {image.lower()} image, instead of the measured one",
                "arcsec",
                _SEEING,
                limits=("0", None),
            )
            for image in ("SCIENCE", "TEMPLATE")
        ),
        InputParameter(
            name="CANDIDATES",
            ucd="pos.eq",
            description="Stars to fit the kernel to: 'lon lat' pairs (deg) separated by commas, "
            "or a table here with ra and dec",
        ),
    )

"""What a user asks to have built, read from DALI parameters or from a JSON object.

Parameters are pairs (name, value); names are case-insensitive (DALI 1.1, section 3.1).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from app.errors import ParameterError, RegionError, quoted, shortened
from app.pixels.bright_shapes import BrightObject
from app.recipes.bright_regions import parse_bright_regions
from app.recipes.matching_parameters import (
    MATCHING_NAMES,
    MAX_BORDER_PX,
    CandidateRequest,
    choices,
    known,
    parse_candidates,
    parse_matching,
)
from app.recipes.recipe import BuildKind, DifferenceOptions, TemplateOptions
from app.recipes.selection import SELECTION_NAMES, Selection, parse_selection
from app.recipes.values import (
    Parameters,
    Values,
    group,
    number,
    one_of,
    positive,
    single,
    text,
    truth,
    whole,
)
from app.sky.dali import parse_pos
from app.sky.shapes import Point, Shape

MODEL_NAMES = ("MODEL_PSF", "MODEL_FWHM")
OPTION_NAMES = ("STATISTIC", "KERNEL", "WARP", *MODEL_NAMES, "BACKGROUND_MATCHING", "INPUTS")
"""How the inputs are resampled and combined."""
BRIGHT_NAMES = ("BRIGHT_OBJECTS", "BRIGHT_REGIONS")
IMAGE_NAMES = ("ID", "BAND", *SELECTION_NAMES, *OPTION_NAMES, "BORDER", *BRIGHT_NAMES)
"""What both kinds of build take."""
TEMPLATE_NAMES = (*IMAGE_NAMES, "POS", "TRACT", "PATCH")
DIFFERENCE_NAMES = (*IMAGE_NAMES, *MATCHING_NAMES)

_TARGET_FORM = "expected 'lon lat', or CIRCLE, RANGE or POLYGON and numbers, all in degrees"

MAX_NUMBER = 10**9
"""No tract has a larger number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BrightRequest:
    """The objects to be marked: those of a published table near the image, and given ones."""

    table: str | None = None
    regions: tuple[BrightObject, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateRequest:
    """A template over a position (``target``), over a patch of the sky map (tract and patch) or
    over the pixels of a science image and ``border_px`` more on each side."""

    science_id: str | None = None
    border_px: int = 0
    target: Shape | None = None
    patch: tuple[int, int] | None = None
    band: str | None = None
    selection: Selection = field(default_factory=Selection)
    options: TemplateOptions = field(default_factory=TemplateOptions)
    bright: BrightRequest = field(default_factory=BrightRequest)


@dataclass(frozen=True, slots=True, kw_only=True)
class DifferenceRequest:
    """A science image minus a template made for it, or minus a template product."""

    science_id: str
    band: str | None = None
    selection: Selection = field(default_factory=Selection)
    template: TemplateOptions = field(default_factory=TemplateOptions)
    options: DifferenceOptions = field(default_factory=DifferenceOptions)
    candidates: CandidateRequest = field(default_factory=CandidateRequest)
    warp_template: bool = True
    """False: what is not on the pixels of the science image already is refused."""
    bright: BrightRequest = field(default_factory=BrightRequest)


BuildRequest = TemplateRequest | DifferenceRequest


def parse_request(kind: BuildKind, parameters: Parameters) -> BuildRequest:
    """The request in ``parameters``. Raises ParameterError naming the parameter at fault."""
    return parse_template(parameters) if kind == "template" else parse_difference(parameters)


def parse_template(parameters: Parameters) -> TemplateRequest:
    """A template request: ID, or POS or TRACT and PATCH (with BAND), the selection of its inputs
    and the options."""
    values = group(parameters, TEMPLATE_NAMES)
    science_id, target = single(values, "ID", text), single(values, "POS", _target)
    patch, band = _patch(values), single(values, "BAND", text)
    given = [
        name
        for name, value in (("ID", science_id), ("POS", target), ("TRACT", patch))
        if value is not None
    ]
    if not given:
        raise ParameterError(
            "POS", "give a position (POS and BAND), TRACT and PATCH, or a science image (ID)"
        )
    if len(given) > 1:
        raise ParameterError(given[1], f"{given[0]} says already where; leave one out")
    if science_id is None and band is None:
        raise ParameterError("BAND", f"required together with {given[0]}, such as BAND=i")
    options = _template_options(values)
    if science_id is None and options.source == "coadds":
        raise ParameterError("INPUTS", "a patch is made of exposures; coadds go with an ID")
    border_px = single(values, "BORDER", whole(0, MAX_BORDER_PX))
    if science_id is None and border_px is not None:
        raise ParameterError("BORDER", "patches have borders of their own; BORDER goes with an ID")
    return TemplateRequest(
        science_id=science_id,
        border_px=border_px or 0,
        target=target,
        patch=patch,
        band=band,
        selection=parse_selection(values),
        options=options,
        bright=_bright(values),
    )


def parse_difference(parameters: Parameters) -> DifferenceRequest:
    """A difference request: ID of the science image, the selection and the options of the
    template, and how they are matched."""
    values = group(parameters, DIFFERENCE_NAMES)
    science_id = single(values, "ID", text)
    if science_id is None:
        raise ParameterError("ID", "required: the obs_publisher_did of the science image")
    options, template = parse_matching(values), _template_options(values)
    warp_template = single(values, "WARP_TEMPLATE", truth) is not False
    if not warp_template:
        if "KERNEL" in values:
            raise ParameterError("KERNEL", "nothing is resampled with WARP_TEMPLATE=false")
        template = replace(template, kernel="nearest")
    return DifferenceRequest(
        science_id=science_id,
        band=single(values, "BAND", text),
        selection=parse_selection(values),
        template=template,
        options=options,
        candidates=parse_candidates(values),
        warp_template=warp_template,
        bright=_bright(values),
    )


def _bright(values: Values) -> BrightRequest:
    return BrightRequest(
        table=single(values, "BRIGHT_OBJECTS", text),
        regions=single(values, "BRIGHT_REGIONS", parse_bright_regions) or (),
    )


def _template_options(values: Values) -> TemplateOptions:
    given = {
        "statistic": single(values, "STATISTIC", one_of(choices(TemplateOptions, "statistic"))),
        "kernel": single(values, "KERNEL", one_of(choices(TemplateOptions, "kernel"))),
        "warp": single(values, "WARP", one_of(choices(TemplateOptions, "warp"))),
        "model_psf": single(values, "MODEL_PSF", one_of(choices(TemplateOptions, "model_psf"))),
        "model_fwhm_arcsec": single(values, "MODEL_FWHM", positive),
        "background_matching": single(values, "BACKGROUND_MATCHING", truth),
        "source": single(values, "INPUTS", one_of(choices(TemplateOptions, "source"))),
    }
    if given["source"] == "coadds":
        _refuse_choices(values)
    model = next((name for name in MODEL_NAMES if name in values), None)
    if model is not None and given["warp"] != "psfmatched":
        raise ParameterError(model, "goes with WARP=psfmatched")
    return replace(TemplateOptions(), **known(given))


def _refuse_choices(values: Values) -> None:
    """INPUTS=coadds leaves nothing to choose or to stack."""
    for name in (*SELECTION_NAMES, "STATISTIC", "WARP", *MODEL_NAMES, "BACKGROUND_MATCHING"):
        if name in values:
            raise ParameterError(
                name, "goes with INPUTS=exposures; coadds under an image are all taken as they are"
            )


def _patch(values: Values) -> tuple[int, int] | None:
    number = whole(0, MAX_NUMBER)
    tract, patch = single(values, "TRACT", number), single(values, "PATCH", number)
    if tract is not None and patch is not None:
        return tract, patch
    if tract is None and patch is None:
        return None
    raise ParameterError("TRACT" if tract is None else "PATCH", "TRACT and PATCH go together")


def _target(_name: str, given: str) -> Shape:
    return parse_target(given)


def parse_target(given: str) -> Shape:
    """A POS value: ``CIRCLE``, ``RANGE``, ``POLYGON`` (SODA 1.0) or a plain ``lon lat``."""
    words = given.replace(",", " ").split()
    if len(words) != 2:
        try:
            return parse_pos(given)
        except RegionError as fault:
            reason = fault.args[1] if words and words[0].isalpha() else _TARGET_FORM
            raise ParameterError("POS", f"{quoted(given.strip())}: {reason}") from fault
    lon_deg, lat_deg = (number("POS", word) for word in words)
    if not (math.isfinite(lon_deg) and 0 <= lon_deg <= 360 and abs(lat_deg) <= 90):
        raise ParameterError(
            "POS", f"longitude is 0 to 360, latitude -90 to 90 (deg), got {quoted(given)}"
        )
    return Point(lon_deg % 360.0, lat_deg)


def parameters_of_json(body: object) -> tuple[tuple[str, str], ...]:
    """The same parameters from a JSON object: names in any case, lists for what may repeat.

    ``TIME`` and ``EXCLUDE_TIME`` take ``[lo, hi]`` (null: open end) or a list of such pairs;
    ``POS`` text or ``[lon, lat]``. Null values are as if not given.
    """
    if not isinstance(body, Mapping):
        raise ParameterError("body", "a JSON object of parameters is needed")
    return tuple(
        (str(name), value) for name, given in body.items() for value in _json_values(name, given)
    )


def _json_values(name: str, given: object) -> list[str]:
    if given is None:
        return []
    if not isinstance(given, list):
        return [_json_text(name, given)]
    numeric = bool(given) and all(_is_number(item) or item is None for item in given)
    if numeric:
        open_ends = ("-Inf", "+Inf") if len(given) == 2 else ()
        return [
            " ".join(
                open_ends[place] if item is None and open_ends else _json_text(name, item)
                for place, item in enumerate(given)
            )
        ]
    return [value for item in given for value in _json_values(name, item)]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _json_text(name: str, value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(value).lower()
    if _is_number(value):
        return repr(value)
    raise ParameterError(
        name, f"text, numbers or lists of them are taken, got {shortened(repr(value))}"
    )

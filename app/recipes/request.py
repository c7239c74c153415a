"""What a user asks to have built, read from DALI parameters or from a JSON object.

Parameters are pairs (name, value); names are case-insensitive (DALI 1.1, section 3.1) and a name
that is not known is refused rather than ignored: a misspelt selection would silently build
something else than was asked.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from app.errors import MultiValuedParameterError, ParameterError, RegionError
from app.recipes.recipe import BuildKind, DifferenceOptions, TemplateOptions
from app.sky.dali import parse_interval, parse_pos
from app.sky.shapes import Point, Shape

Parameters = Sequence[tuple[str, str]]
Interval = tuple[float, float]

SELECTION_NAMES = ("TEMPLATE_IDS", "FWHM_FRACTION", "TIME", "EXCLUDE_TIME")
TEMPLATE_NAMES = ("ID", "POS", "BAND", *SELECTION_NAMES)
DIFFERENCE_NAMES = ("ID", "BAND", *SELECTION_NAMES, "CONVOLVE", "KERNEL_ORDER", "BACKGROUND_ORDER")
STANDARD_NAMES = frozenset(
    {"REQUEST", "VERSION", "RESPONSEFORMAT", "FORMAT", "MAXREC", "RUNID", "PHASE", "WAIT", "LAST"}
)
"""Names that DALI and UWS give a meaning and a build does not use: accepted and left aside."""

MAX_IDS = 1000
MAX_ORDER = 4
IDENTIFIER_SEPARATOR = re.compile(r"\s*,\s*(?=ivo://)|\s*,\s*$|\s+(?=ivo://)", re.IGNORECASE)
CONVOLVE_CHOICES: tuple[Literal["auto", "template", "science"], ...] = (
    "auto",
    "template",
    "science",
)

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which images a template is made of: a list, or everything that passes the limits.

    ``fwhm_fraction`` None means Rubin's rule (see :mod:`app.recipes.select`). Times are MJD (TT
    and UTC are not told apart: the limits are nights, not seconds).
    """

    template_ids: tuple[str, ...] = ()
    fwhm_fraction: float | None = None
    times: tuple[Interval, ...] = ()
    exclude_times: tuple[Interval, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateRequest:
    """A template over a position (``target``) or over the pixels of a science image."""

    science_id: str | None = None
    target: Shape | None = None
    band: str | None = None
    selection: Selection = field(default_factory=Selection)
    options: TemplateOptions = field(default_factory=TemplateOptions)


@dataclass(frozen=True, slots=True, kw_only=True)
class DifferenceRequest:
    """A science image minus a template made for it, or minus a template product."""

    science_id: str
    band: str | None = None
    selection: Selection = field(default_factory=Selection)
    template: TemplateOptions = field(default_factory=TemplateOptions)
    options: DifferenceOptions = field(default_factory=DifferenceOptions)


BuildRequest = TemplateRequest | DifferenceRequest


def parse_request(kind: BuildKind, parameters: Parameters) -> BuildRequest:
    """The request in ``parameters``. Raises ParameterError naming the parameter at fault."""
    return parse_template(parameters) if kind == "template" else parse_difference(parameters)


def parse_template(parameters: Parameters) -> TemplateRequest:
    """A template request: ID or POS (with BAND), and the selection of its inputs."""
    values = _group(parameters, TEMPLATE_NAMES)
    science_id, target = _single(values, "ID", _text), _single(values, "POS", parse_target)
    band = _single(values, "BAND", _text)
    if science_id is None and target is None:
        raise ParameterError("POS", "give a position (POS and BAND) or a science image (ID)")
    if science_id is not None and target is not None:
        raise ParameterError("POS", "the template of an ID covers that image; give ID or POS")
    if target is not None and band is None:
        raise ParameterError("BAND", "required together with POS, such as BAND=i")
    return TemplateRequest(
        science_id=science_id, target=target, band=band, selection=_selection(values)
    )


def parse_difference(parameters: Parameters) -> DifferenceRequest:
    """A difference request: ID of the science image, the selection and the matching options."""
    values = _group(parameters, DIFFERENCE_NAMES)
    science_id = _single(values, "ID", _text)
    if science_id is None:
        raise ParameterError("ID", "required: the obs_publisher_did of the science image")
    default = DifferenceOptions()
    return DifferenceRequest(
        science_id=science_id,
        band=_single(values, "BAND", _text),
        selection=_selection(values),
        options=DifferenceOptions(
            convolve=_single(values, "CONVOLVE", _convolve) or default.convolve,
            kernel_spatial_order=_order(values, "KERNEL_ORDER", default.kernel_spatial_order),
            background_order=_order(values, "BACKGROUND_ORDER", default.background_order),
        ),
    )


def parse_target(text: str) -> Shape:
    """A POS value: ``CIRCLE``, ``RANGE``, ``POLYGON`` (SODA 1.0) or a plain ``lon lat``."""
    words = text.replace(",", " ").split()
    if len(words) != 2:
        try:
            return parse_pos(text)
        except RegionError as fault:
            raise ParameterError("POS", f"{text.strip()!r}: {fault.args[1]}") from fault
    lon_deg, lat_deg = (_number("POS", word) for word in words)
    if not (math.isfinite(lon_deg) and 0 <= lon_deg <= 360 and abs(lat_deg) <= 90):
        raise ParameterError("POS", f"longitude is 0 to 360, latitude -90 to 90 (deg), got {text}")
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
    if _is_number(value):
        return repr(value)
    raise ParameterError(name, f"text, numbers or lists of them are taken, got {value!r}")


def _group(parameters: Parameters, allowed: Sequence[str]) -> dict[str, list[str]]:
    values: dict[str, list[str]] = {}
    for name, value in parameters:
        folded = name.upper()
        if folded in allowed:
            values.setdefault(folded, []).append(value)
        elif folded not in STANDARD_NAMES:
            raise ParameterError(name, f"not known here; allowed are {', '.join(allowed)}")
    return {name: given for name, given in values.items() if any(v.strip() for v in given)}


def _single(values: Mapping[str, Sequence[str]], name: str, parse: Callable[[str], T]) -> T | None:
    given = values.get(name, ())
    if len(given) > 1:
        raise MultiValuedParameterError(name, f"{len(given)} values were given")
    return parse(given[0]) if given else None


def _selection(values: Mapping[str, Sequence[str]]) -> Selection:
    ids = _identifiers(values.get("TEMPLATE_IDS", ()))
    if ids:
        others = [name for name in SELECTION_NAMES[1:] if name in values]
        if others:
            raise ParameterError(others[0], "TEMPLATE_IDS names every input; leave this one out")
    return Selection(
        template_ids=ids,
        fwhm_fraction=_single(values, "FWHM_FRACTION", _fraction),
        times=_intervals(values, "TIME"),
        exclude_times=_intervals(values, "EXCLUDE_TIME"),
    )


def _identifiers(given: Sequence[str]) -> tuple[str, ...]:
    parts = (part.strip() for text in given for part in IDENTIFIER_SEPARATOR.split(text.strip()))
    unique = tuple(dict.fromkeys(part for part in parts if part))
    if len(unique) > MAX_IDS:
        raise ParameterError("TEMPLATE_IDS", f"at most {MAX_IDS} identifiers, got {len(unique)}")
    return unique


def _intervals(values: Mapping[str, Sequence[str]], name: str) -> tuple[Interval, ...]:
    return tuple(parse_interval(name, text) for text in values.get(name, ()))


def _text(value: str) -> str:
    return value.strip()


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ParameterError(name, f"a number is needed, got {text!r}") from None


def _fraction(text: str) -> float:
    value = _number("FWHM_FRACTION", text)
    if not 0 < value <= 1:
        raise ParameterError("FWHM_FRACTION", f"above 0 and at most 1, got {text.strip()}")
    return value


def _convolve(text: str) -> Literal["auto", "template", "science"]:
    for choice in CONVOLVE_CHOICES:
        if text.strip().lower() == choice:
            return choice
    raise ParameterError("CONVOLVE", f"one of {', '.join(CONVOLVE_CHOICES)}, got {text.strip()!r}")


def _order(values: Mapping[str, Sequence[str]], name: str, default: int) -> int:
    def parse(text: str) -> int:
        if text.strip() not in {str(n) for n in range(MAX_ORDER + 1)}:
            raise ParameterError(name, f"a whole number from 0 to {MAX_ORDER}, got {text.strip()}")
        return int(text)

    order = _single(values, name, parse)
    return default if order is None else order

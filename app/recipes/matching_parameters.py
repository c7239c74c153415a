"""How a template is matched and subtracted, as a user asks for it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Final, get_args, get_type_hints

from app.errors import ParameterError
from app.recipes.recipe import DifferenceOptions, TemplateOptions
from app.recipes.values import Values, number, one_of, positive, single, truth, whole

KERNEL_NAMES: Final = (
    "CONVOLVE",
    "KERNEL_ORDER",
    "DECORRELATE",
    "KERNEL_BASIS",
    "KERNEL_LAMBDA",
    "CANDIDATES",
    "SCIENCE_FWHM",
    "TEMPLATE_FWHM",
)
MATCHING_NAMES: Final = ("METHOD", "PRODUCT", *KERNEL_NAMES, "BACKGROUND_ORDER", "WARP_TEMPLATE")
MAX_ORDER: Final = 4
MAX_BORDER_PX: Final = 1000
MAX_CANDIDATES: Final = 2000
FWHM_RANGE_PX: Final = (0.5, 30.0)
_TABLE: Final = re.compile(r"[A-Za-z_]\w*(\.\w+){0,2}")
_NOT_WITH: Final = {
    ("METHOD", "zogy"): dict.fromkeys(
        (*KERNEL_NAMES, "PRODUCT"), "no kernel is fitted with METHOD=zogy; leave one out"
    ),
    ("METHOD", "snap"): {
        "KERNEL_ORDER": "METHOD=snap has one kernel for the whole image; leave one out",
        "BACKGROUND_ORDER": "METHOD=snap fits no background; leave one out",
    },
    ("METHOD", "likelihood"): {
        "CONVOLVE": "METHOD=likelihood convolves the science image with its PSF and matches the "
        "template to that; leave one out",
        "DECORRELATE": "neighbouring pixels of a likelihood share noise (METHOD=likelihood); "
        "leave one out",
        "PRODUCT": "METHOD=likelihood has no other product; leave one out",
        **dict.fromkeys(
            ("SCIENCE_FWHM", "TEMPLATE_FWHM"),
            "METHOD=likelihood takes the measured PSF of the science image; leave one out",
        ),
    },
    ("PRODUCT", "matched"): {
        "CONVOLVE": "PRODUCT=matched is the template convolved; leave one out",
        "DECORRELATE": "nothing is subtracted with PRODUCT=matched; leave one out",
    },
}
"""Parameters that do not go with a choice, and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateRequest:
    """The stars that a kernel is to be fitted to: those of a published table on the image, or at
    given places (ICRS, deg)."""

    table: str | None = None
    places: tuple[tuple[float, float], ...] = ()


def parse_matching(values: Values) -> DifferenceOptions:
    """The options in grouped parameters, all but the candidates. Raises ParameterError."""
    order, chosen = whole(0, MAX_ORDER), _chosen
    given = {
        "method": chosen(values, "METHOD", "method"),
        "product": chosen(values, "PRODUCT", "product"),
        "convolve": chosen(values, "CONVOLVE", "convolve"),
        "kernel_spatial_order": single(values, "KERNEL_ORDER", order),
        "kernel_basis": chosen(values, "KERNEL_BASIS", "kernel_basis"),
        "kernel_lambda": single(values, "KERNEL_LAMBDA", positive),
        "decorrelate": single(values, "DECORRELATE", truth),
        "background_order": single(values, "BACKGROUND_ORDER", order),
        "science_fwhm_arcsec": single(values, "SCIENCE_FWHM", positive),
        "template_fwhm_arcsec": single(values, "TEMPLATE_FWHM", positive),
        "border_px": single(values, "BORDER", whole(0, MAX_BORDER_PX)),
    }
    options = replace(DifferenceOptions(), **known(given))
    _refuse_together(values, options)
    return options


def _refuse_together(values: Values, options: DifferenceOptions) -> None:
    for (choice, word), reasons in _NOT_WITH.items():
        if getattr(options, choice.lower()) == word:
            for name, reason in reasons.items():
                if name in values:
                    raise ParameterError(name, reason)
    if "KERNEL_LAMBDA" in values and options.kernel_basis != "delta":
        raise ParameterError("KERNEL_LAMBDA", "goes with KERNEL_BASIS=delta")
    named = values.get("TEMPLATE_IDS", ())
    if options.method == "snap" and not named:
        raise ParameterError(
            "TEMPLATE_IDS", "required with METHOD=snap: the exposure that is subtracted from ID"
        )


def check_widths(options: DifferenceOptions, pixel_scale_arcsec: float) -> None:
    """ParameterError when a FWHM that is given is no PSF's on pixels of this scale."""
    given = {
        "SCIENCE_FWHM": options.science_fwhm_arcsec,
        "TEMPLATE_FWHM": options.template_fwhm_arcsec,
    }
    low, high = (limit * pixel_scale_arcsec for limit in FWHM_RANGE_PX)
    for name, fwhm_arcsec in given.items():
        if fwhm_arcsec is not None and not low <= fwhm_arcsec <= high:
            raise ParameterError(
                name,
                f"{low:.3g} to {high:.4g} arcsec ({FWHM_RANGE_PX[0]:g} to {FWHM_RANGE_PX[1]:g} "
                f"pixels of the image), got {fwhm_arcsec:g}",
            )


def parse_candidates(values: Values) -> CandidateRequest:
    """CANDIDATES: the name of a table, or ``lon lat`` pairs, separated by commas or repeated.

    Raises ParameterError.
    """
    given = [word.strip() for text in values.get("CANDIDATES", ()) for word in text.split(",")]
    if len(given) == 1 and _TABLE.fullmatch(given[0]):
        return CandidateRequest(table=given[0])
    places = tuple(_place(word) for word in given if word)
    if len(places) > MAX_CANDIDATES:
        raise ParameterError("CANDIDATES", f"at most {MAX_CANDIDATES} places, got {len(places)}")
    return CandidateRequest(places=places)


def _place(word: str) -> tuple[float, float]:
    numbers = word.split()
    if len(numbers) != 2:
        raise ParameterError(
            "CANDIDATES", f"'lon lat' pairs in degrees or a table's name, got {word[:80]!r}"
        )
    lon, lat = (number("CANDIDATES", each) for each in numbers)
    if not (0 <= lon <= 360 and abs(lat) <= 90):
        raise ParameterError(
            "CANDIDATES", f"longitude is 0 to 360, latitude -90 to 90 (deg), got {word[:80]}"
        )
    return lon, lat


@lru_cache(maxsize=64)
def choices(options: type[TemplateOptions | DifferenceOptions], name: str) -> tuple[str, ...]:
    """The words that an option takes."""
    return tuple(get_args(get_type_hints(options)[name]))


def _chosen(values: Values, name: str, option: str) -> str | None:
    read: Callable[[str, str], str] = one_of(choices(DifferenceOptions, option))
    return single(values, name, read)


def known(given: Mapping[str, Any]) -> dict[str, Any]:
    """What is not given keeps its default."""
    return {name: value for name, value in given.items() if value is not None}

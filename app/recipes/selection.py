"""Which images a template is to be made of, as a user asks for it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from app.errors import ParameterError, quoted
from app.recipes.values import (
    Interval,
    Values,
    fraction,
    intervals,
    number,
    positive,
    single,
    whole,
)
from app.sky.dali import parse_interval

SELECTION_NAMES = (
    "TEMPLATE_IDS",
    "FWHM_FRACTION",
    "MAX_INPUTS",
    "FWHM_MIN",
    "FWHM_MAX",
    "EXPTIME",
    "EFFTIME_MIN",
    "ZEROPOINT",
    "DEPTH_MIN",
    "TIME",
    "EXCLUDE_TIME",
)
MAX_IDS = 1000
LEAST_INPUTS = 2
"""Two exposures: the least that makes a template."""
IDENTIFIER_SEPARATOR = re.compile(r"\s*,\s*(?=ivo://)|\s*,\s*$|\s+(?=ivo://)", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """A list, or everything that passes the limits (both ends of an interval belong to it).

    ``fwhm_fraction`` and ``max_inputs`` None mean Rubin's rule (see :mod:`app.recipes.select`).
    Times are MJD (TT and UTC are not told apart: the limits are nights, not seconds). FWHM are
    arcsec, exposure times s, zero points and depths AB magnitudes.
    """

    template_ids: tuple[str, ...] = ()
    fwhm_fraction: float | None = None
    max_inputs: int | None = None
    """Exposures, the sharpest ones."""
    fwhm_min_arcsec: float | None = None
    fwhm_max_arcsec: float | None = None
    exposure_s: Interval | None = None
    effective_time_min_s: float | None = None
    zero_point_mag: Interval | None = None
    depth_min_mag: float | None = None
    times: tuple[Interval, ...] = ()
    exclude_times: tuple[Interval, ...] = ()


def parse_selection(values: Values) -> Selection:
    """The selection in grouped parameters. Raises ParameterError naming the one at fault."""
    ids = _identifiers(values.get("TEMPLATE_IDS", ()))
    if ids:
        others = [name for name in SELECTION_NAMES[1:] if name in values]
        if others:
            raise ParameterError(others[0], "TEMPLATE_IDS names every input; leave this one out")
    selection = Selection(
        template_ids=ids,
        fwhm_fraction=single(values, "FWHM_FRACTION", fraction),
        max_inputs=single(values, "MAX_INPUTS", whole(LEAST_INPUTS, MAX_IDS)),
        fwhm_min_arcsec=single(values, "FWHM_MIN", positive),
        fwhm_max_arcsec=single(values, "FWHM_MAX", positive),
        exposure_s=single(values, "EXPTIME", parse_interval),
        effective_time_min_s=single(values, "EFFTIME_MIN", positive),
        zero_point_mag=single(values, "ZEROPOINT", parse_interval),
        depth_min_mag=single(values, "DEPTH_MIN", number),
        times=_times(values, "TIME"),
        exclude_times=_times(values, "EXCLUDE_TIME"),
    )
    low, high = selection.fwhm_min_arcsec, selection.fwhm_max_arcsec
    if low is not None and high is not None and low > high:
        raise ParameterError("FWHM_MIN", f"{low:g} is above FWHM_MAX, {high:g}")
    return selection


def _times(values: Values, name: str) -> tuple[Interval, ...]:
    try:
        return intervals(values, name)
    except ParameterError as fault:
        reason = f"{fault.args[1]}; times are MJD, such as '61000 61050' or '61000 +Inf'"
        raise ParameterError(name, reason) from None


def _identifiers(given: Sequence[str]) -> tuple[str, ...]:
    parts = (part.strip() for text in given for part in IDENTIFIER_SEPARATOR.split(text.strip()))
    unique = tuple(dict.fromkeys(part for part in parts if part))
    if given and not unique:
        raise ParameterError(
            "TEMPLATE_IDS", f"there is no identifier in {quoted(given[0].strip())}"
        )
    if len(unique) > MAX_IDS:
        raise ParameterError("TEMPLATE_IDS", f"at most {MAX_IDS} identifiers, got {len(unique)}")
    return unique

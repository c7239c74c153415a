"""An image's cards, by the rules of its profile, as ObsCore columns and photometric facts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from app.errors import ImageFormatError
from app.schema.access import DATA_RIGHTS
from app.schema.obscore import OBSCORE
from app.schema.rows import Value
from app.services.ingest.cards import Cards, CardValue
from app.services.ingest.profile import Settings
from app.services.ingest.rules import (
    Found,
    as_number,
    find,
    find_instant,
    find_number,
    find_value,
)
from app.services.ingest.times import SCALES, Instant, iso_text, parse_instant, to_utc

_SECONDS = 86400.0
_FITS_MJD = 43874.0
"""1979, when FITS began: files are not older, though two-digit years may say so."""
_KINDS = {field.name: field.kind for field in OBSCORE.fields}


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """When an image was taken: MJD (UTC) bounds and exposure time."""

    t_min: float | None = None
    t_max: float | None = None
    exposure_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Photometry:
    """What a build needs to know of the pixels (:class:`app.recipes.recipe.ImageRef`)."""

    fwhm_arcsec: float | None
    zero_point_mag: float | None
    gain_e_per_unit: float | None
    saturation: float | None
    flux_scale: float
    bunit: str | None


def find_band(settings: Settings, cards: Cards) -> tuple[str | None, str | None]:
    """(short band, filter name as the header has it); a name that no pattern fits has no band."""
    for name in (find_value((rule,), cards) for rule in settings.filter_name):
        if name is None:
            continue
        text = str(name).strip()
        for pattern, band in settings.band_names:
            if found := pattern.search(text):
                return found.expand(band), text
        return None, text
    return None, None


def find_span(settings: Settings, cards: Cards) -> Span:
    """Start and end of an image.

    From start and end, or start and exposure, or the middle and exposure. A date without a time
    of day bounds the image by that whole day; a middle without exposure is start and end.
    """
    exposure_s = find_number(settings.exposure, cards)
    exposure_s = None if exposure_s is None or exposure_s <= 0 else exposure_s
    scale = str(find_value(settings.time_scale, cards) or "utc").lower()
    start, middle, end = (
        find_instant(rules, cards) for rules in (settings.start, settings.middle, settings.end)
    )
    t_min, t_max = _bounds(start, middle, end, (exposure_s or 0.0) / _SECONDS)
    if scale in SCALES and scale != "utc":
        t_min = None if t_min is None else to_utc(t_min, scale)
        t_max = None if t_max is None else to_utc(t_max, scale)
    return Span(t_min=t_min, t_max=t_max, exposure_s=exposure_s)


def _bounds(
    start: Instant | None, middle: Instant | None, end: Instant | None, length_d: float
) -> tuple[float | None, float | None]:
    if start is not None and start.day_only:
        return start.mjd, start.mjd + 1.0
    if start is not None:
        last = end.mjd if end is not None and end.mjd >= start.mjd else start.mjd + length_d
        return start.mjd, last
    if middle is not None:
        return middle.mjd - length_d / 2, middle.mjd + length_d / 2
    if end is not None:
        return end.mjd - length_d, end.mjd
    return None, None


def find_photometry(
    settings: Settings, cards: Cards, pixel_scale_arcsec: float, exposure_s: float | None
) -> Photometry:
    """Width of the PSF, zero point of one flux unit, gain, saturation and unit."""
    bunit = find_value(settings.bunit, cards)
    gain = find_number(settings.gain, cards)
    scale = find_number(settings.flux_scale, cards)
    return Photometry(
        fwhm_arcsec=_fwhm_arcsec(settings, cards, pixel_scale_arcsec),
        zero_point_mag=_zero_point(
            settings, cards, None if bunit is None else str(bunit), exposure_s
        ),
        gain_e_per_unit=gain if gain is not None and gain > 0 else None,
        saturation=find_number(settings.saturation, cards),
        flux_scale=1.0 if scale is None or scale == 0 else scale,
        bunit=None if bunit is None else str(bunit),
    )


def _fwhm_arcsec(settings: Settings, cards: Cards, pixel_scale_arcsec: float) -> float | None:
    for rule in settings.fwhm:
        found = find((rule,), cards)
        number = None if found is None else as_number(found.value)
        if found is None or number is None or number <= 0:
            continue
        unit = _unit_of(found, cards)
        factor = {"arcsec": 1.0, "pixel": pixel_scale_arcsec, "deg": 3600.0}.get(unit or "")
        if factor is not None:
            return number * factor
    return None


def _unit_of(found: Found, cards: Cards) -> str | None:
    """The rule's unit, or what the comment of its card says."""
    if found.rule.unit != "comment":
        return found.rule.unit or "arcsec"
    comment = cards.find_comment(found.card or "").lower()
    if "arcsec" in comment or '"' in comment:
        return "arcsec"
    return "pixel" if "pix" in comment else None


def _zero_point(
    settings: Settings, cards: Cards, bunit: str | None, exposure_s: float | None
) -> float | None:
    """A card of exactly 0 is taken as unset."""
    by_unit = settings.zero_points_by_unit.get((bunit or "").lower())
    if by_unit is not None:
        return by_unit
    for rule in settings.zero_point:
        number = find_number((rule,), cards)
        if number is None or number == 0.0:
            continue
        if not rule.per_second:
            return number
        if exposure_s:
            return number + 2.5 * math.log10(exposure_s)
    return None


def find_columns(settings: Settings, cards: Cards) -> tuple[dict[str, Value], Cards]:
    """The ObsCore columns that the profile maps, and the cards with ``calib_level`` as a fact.

    A value that its column cannot hold is none. Raises ImageFormatError where it cannot be told who
    may have the image.
    """
    level = _column_value("calib_level", find_value(settings.columns["calib_level"], cards))
    cards = cards.with_facts(calib_level=level)
    columns: dict[str, Value] = {}
    for name, rules in settings.columns.items():
        value = _column_value(name, find_value(rules, cards))
        if value is not None:
            columns[name] = value
    _check_rights(settings, cards, columns)
    return columns, cards


def _check_rights(settings: Settings, cards: Cards, columns: dict[str, Value]) -> None:
    """An image must not become public because its profile or its header is mistaken."""
    rights, rule = columns.get("data_rights"), settings.columns.get("obs_release_date")
    if rights is not None:
        columns["data_rights"] = word = str(rights).strip().lower()
        if word not in DATA_RIGHTS:
            allowed = ", ".join(DATA_RIGHTS)
            raise ImageFormatError(
                str(cards.find("path")), f"data_rights {rights!r}: one of {allowed}"
            )
    date = None if rule is None else find_value(rule, cards)
    if date is not None and "obs_release_date" not in columns:
        raise ImageFormatError(str(cards.find("path")), f"obs_release_date {date!r} is no date")


def _column_value(name: str, value: CardValue | None) -> Value:
    kind = _KINDS[name]
    if value is None:
        return None
    if kind == "real":
        return as_number(value)
    if kind == "integer":
        number = as_number(value)
        return int(number) if number is not None and number == int(number) else None
    if kind == "timestamp":
        moment = parse_instant(value, "auto")
        return None if moment is None or moment.mjd < _FITS_MJD else iso_text(moment.mjd)
    return str(value)


def wavelengths_of(settings: Settings, band: str | None) -> Mapping[str, Value]:
    """em_min and em_max (m) of a band, where they are known."""
    pair = settings.wavelengths_m.get(band or "")
    return {} if pair is None else {"em_min": pair[0], "em_max": pair[1]}

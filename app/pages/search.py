"""The search form: what it asks becomes ADQL, what comes back becomes rows and cards."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Final

from app.adql.instants import to_mjd
from app.errors import ParameterError, quoted
from app.pages.holdings import format_instant
from app.pages.outlines import outline_json
from app.pages.position import format_position
from app.pages.result_table import Records, Scalar
from app.pages.target_names import Place
from app.recipes.values import number
from app.schema.obscore import BUILDABLE, BUILT, STALE
from app.services.parameters import ParameterSet
from app.sky.numbers import parse_finite

CARD_COLUMNS = (
    "obs_publisher_did, obs_id, obs_title, dataproduct_subtype, lsst_band, t_min, s_resolution, "
    "build_state, s_region"
)
MAX_RADIUS_DEG = 10.0
STATES = {BUILDABLE: "can be built", STALE: "stale"}
"""What is said of an image that is not simply there."""
THERE = "there"
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
CHOICES = {
    THERE: "there already",
    BUILDABLE: "can be built",
    BUILT: "built here",
    STALE: "stale",
}
"""Values of STATE, and the words of the form."""
SORTS: Final[Mapping[str, str]] = {
    "time": "t_min",
    "newest": "t_min DESC",
    "seeing": "s_resolution, t_min",
    "band": "lsst_band, t_min",
    "kind": "dataproduct_subtype, t_min",
}
"""Values of SORT, and what rows are ordered by; the first unless told otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchForm:
    """The fields of the form, as text; empty ones do not constrain."""

    pos: str = ""
    name: str = ""
    """Of the target that the position was found by."""
    radius: str = ""
    band: str = ""
    subtype: str = ""
    collection: str = ""
    state: str = ""
    since: str = ""
    until: str = ""
    sort: str = ""

    def asked(self, **others: str) -> dict[str, str]:
        """The parameters that ask for the same, but for ``others``."""
        return {
            "POS": self.pos,
            "SR": self.radius,
            "BAND": self.band,
            "SUBTYPE": self.subtype,
            "COLLECTION": self.collection,
            "STATE": self.state,
            "SINCE": self.since,
            "UNTIL": self.until,
            "SORT": self.sort,
        } | others


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One image in a list. ``outline``: its footprint (:func:`outline_json`)."""

    dataset_id: str
    title: str
    subtype: str
    band: str
    when: str
    seeing: str
    state: str
    has_preview: bool
    outline: str


def parse_search(parameters: ParameterSet, locate: Callable[[str], Place]) -> SearchForm:
    """Read and check the form; ``locate`` reads positions (:func:`find_place`). Raises
    ParameterError naming POS, SR, STATE, SINCE, UNTIL or SORT."""
    pos = parameters.single("POS")
    place = locate(pos) if pos else None
    radius = parameters.single("SR")
    if radius is not None:
        _check_radius(radius, has_position=pos is not None)
    return SearchForm(
        pos=format_position(place.point) if place else "",
        name=place.name if place else "",
        radius=radius.strip() if radius and float(radius) > 0 else "",
        band=parameters.single("BAND") or "",
        subtype=parameters.single("SUBTYPE") or "",
        collection=parameters.single("COLLECTION") or "",
        state=_choice("STATE", parameters.single("STATE"), CHOICES),
        since=_instant("SINCE", parameters.single("SINCE")),
        until=_instant("UNTIL", parameters.single("UNTIL")),
        sort=_choice("SORT", parameters.single("SORT"), SORTS),
    )


def search_adql(form: SearchForm, *, top: int) -> str:
    """The query the form stands for."""
    conditions = []
    if form.pos:
        lon, lat = form.pos.split()
        conditions.append(
            f"INTERSECTS(CIRCLE('ICRS', {lon}, {lat}, {float(form.radius)}), s_region) = 1"
            if form.radius
            else f"CONTAINS(POINT('ICRS', {lon}, {lat}), s_region) = 1"
        )
    for column, value in (
        ("lsst_band", form.band),
        ("dataproduct_subtype", form.subtype),
        ("obs_collection", form.collection),
    ):
        if value:
            literal = value.replace("'", "''")
            conditions.append(f"{column} = '{literal}'")
    if form.state == THERE:
        conditions.append(f"(build_state IS NULL OR build_state <> '{BUILDABLE}')")
    elif form.state:
        conditions.append(f"build_state = '{form.state}'")
    if form.since:
        conditions.append(f"t_min >= {_mjd(form.since):.10g}")
    if form.until:
        conditions.append(f"t_min < {_end(form.until):.10g}")
    where = "\nWHERE " + "\n  AND ".join(conditions) if conditions else ""
    order = SORTS[form.sort or "time"]
    return f"SELECT TOP {top} {CARD_COLUMNS}\nFROM ivoa.ObsCore{where}\nORDER BY {order}"


def to_cards(records: Records, hidden: Collection[str]) -> list[Card]:
    """Rows of :func:`search_adql` as cards. ``hidden`` are the identifiers of images whose pixels
    lie at other services or are not for the one who asks: they have no preview."""
    return [
        Card(
            dataset_id=str(record["obs_publisher_did"]),
            title=str(record["obs_title"] or record["obs_id"]),
            subtype=str(record["dataproduct_subtype"] or ""),
            band=str(record["lsst_band"] or ""),
            when=_when(record["t_min"]),
            seeing=_seeing(record["s_resolution"]),
            state=STATES.get(str(record["build_state"]), ""),
            has_preview=str(record["obs_publisher_did"]) not in hidden
            and record["build_state"] != BUILDABLE,
            outline=outline_json(str(record["s_region"] or "")),
        )
        for record in records.by_name()
    ]


def _choice(name: str, given: str | None, choices: Collection[str]) -> str:
    text = given or ""
    if text not in {"", *choices}:
        raise ParameterError(name, f"one of {', '.join(choices)}, got {quoted(text)}")
    return text


def _instant(name: str, given: str | None) -> str:
    text = (given or "").strip()
    try:
        if text:
            _mjd(text)
    except ValueError:
        reason = f"a date such as 2026-03-01 or an MJD is needed, got {quoted(text)}"
        raise ParameterError(name, reason) from None
    return text


def _mjd(text: str) -> float:
    """Of a date or an instant (UTC), or what is an MJD already. Raises ValueError."""
    found = to_mjd(text)
    return parse_finite(text) if found is None else found


def _end(text: str) -> float:
    """The same; a day lasts until the next one."""
    return _mjd(text) + (1.0 if _DATE.fullmatch(text) else 0.0)


def _check_radius(text: str, *, has_position: bool) -> None:
    radius_deg = number("SR", text)
    if not 0 <= radius_deg <= MAX_RADIUS_DEG:
        raise ParameterError("SR", f"0 to {MAX_RADIUS_DEG:g} degrees, got {quoted(text)}")
    if radius_deg > 0 and not has_position:
        raise ParameterError("SR", "a radius needs a position (POS)")


def _when(t_min: Scalar) -> str:
    return format_instant(float(t_min)) if t_min is not None else ""


def _seeing(s_resolution: Scalar) -> str:
    return f"{float(s_resolution):.2f}″" if s_resolution is not None else ""

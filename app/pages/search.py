"""The search form: what it asks becomes ADQL, what comes back becomes cards."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from app.errors import ParameterError, quoted
from app.pages.holdings import format_instant
from app.pages.position import format_position, parse_position
from app.pages.result_table import Records, Scalar
from app.recipes.values import number
from app.schema.obscore import BUILDABLE, BUILT, STALE
from app.services.parameters import ParameterSet

CARD_COLUMNS = (
    "obs_publisher_did, obs_id, obs_title, dataproduct_subtype, lsst_band, t_min, s_resolution, "
    "build_state"
)
MAX_RADIUS_DEG = 10.0
STATES = {BUILDABLE: "can be built", STALE: "stale"}
"""What is said of an image that is not simply there."""
THERE = "there"
CHOICES = {
    THERE: "there already",
    BUILDABLE: "can be built",
    BUILT: "built here",
    STALE: "stale",
}
"""Values of STATE, and the words of the form."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchForm:
    """The fields of the form, as text; empty ones do not constrain."""

    pos: str = ""
    radius: str = ""
    band: str = ""
    subtype: str = ""
    collection: str = ""
    state: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One image in a list."""

    dataset_id: str
    title: str
    subtype: str
    band: str
    when: str
    seeing: str
    state: str
    has_preview: bool


def parse_search(parameters: ParameterSet) -> SearchForm:
    """Read and check the form. Raises ParameterError naming POS, SR or STATE."""
    pos = parameters.single("POS")
    radius = parameters.single("SR")
    if radius is not None:
        _check_radius(radius, has_position=pos is not None)
    return SearchForm(
        pos=format_position(parse_position(pos)) if pos else "",
        radius=radius.strip() if radius and float(radius) > 0 else "",
        band=parameters.single("BAND") or "",
        subtype=parameters.single("SUBTYPE") or "",
        collection=parameters.single("COLLECTION") or "",
        state=_state(parameters.single("STATE") or ""),
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
    where = "\nWHERE " + "\n  AND ".join(conditions) if conditions else ""
    return f"SELECT TOP {top} {CARD_COLUMNS}\nFROM ivoa.ObsCore{where}\nORDER BY t_min"


def to_cards(records: Records, external: Collection[str]) -> list[Card]:
    """Rows of :func:`search_adql` as cards. ``external`` are the identifiers of images that lie at
    other services: no preview can be drawn of them."""
    return [
        Card(
            dataset_id=str(record["obs_publisher_did"]),
            title=str(record["obs_title"] or record["obs_id"]),
            subtype=str(record["dataproduct_subtype"] or ""),
            band=str(record["lsst_band"] or ""),
            when=_when(record["t_min"]),
            seeing=_seeing(record["s_resolution"]),
            state=STATES.get(str(record["build_state"]), ""),
            has_preview=str(record["obs_publisher_did"]) not in external
            and record["build_state"] != BUILDABLE,
        )
        for record in records.by_name()
    ]


def _state(text: str) -> str:
    if text not in {"", *CHOICES}:
        raise ParameterError("STATE", f"one of {', '.join(CHOICES)}, got {quoted(text)}")
    return text


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

"""The light curve of a place as its page shows it: a drawing and a table."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain, islice
from typing import Final
from urllib.parse import quote

from markupsafe import Markup

from app.pages.position import format_position, parse_position
from app.pages.result_table import Cell, format_value
from app.schema.access import Identity
from app.schema.fields import Field
from app.services.figure import to_svg
from app.services.light_curve_plot import draw
from app.services.light_curve_request import parse_light_curve
from app.services.light_curve_table import FIELDS, table_row
from app.services.light_curves import LightCurveService
from app.services.parameters import ParameterSet

MAX_EPOCHS: Final = 1000
_COLUMNS: Final = (
    "mjd",
    "lsst_band",
    "kind",
    "psf_flux",
    "psf_flux_error",
    "snr",
    "mag",
    "mag_error",
    "mag_limit",
    "template_flux",
    "flags",
    "note",
    "obs_publisher_did",
)
_DECIMALS: Final = {"mjd": 5, "snr": 1, "mag": 3, "mag_error": 3, "mag_limit": 3}


@dataclass(frozen=True, slots=True, kw_only=True)
class LightCurveView:
    """``picture``: an SVG element; ``fields`` and ``rows`` make a table; ``asked``: the same as
    parameters of ``/lightcurve``."""

    picture: Markup
    fields: tuple[Field, ...]
    rows: list[list[Cell]]
    truncated: bool
    asked: dict[str, str]


def view_light_curve(
    light_curves: LightCurveService, asked: ParameterSet, root: str, identity: Identity
) -> LightCurveView | None:
    """What POS, BAND and KIND ask for; None without a position. POS is read as people write it.

    Raises ParameterError naming the parameter at fault.
    """
    position = asked.single("POS")
    if position is None:
        return None
    values = {"POS": format_position(parse_position(position))}
    for name in ("BAND", "KIND"):
        given = asked.single(name)
        if given is not None:
            values[name] = given.strip()
    request = parse_light_curve(tuple(values.items()))
    measured = chain.from_iterable(light_curves.measure(request, identity))
    epochs = list(islice(measured, MAX_EPOCHS + 1))
    shown = epochs[:MAX_EPOCHS]
    fields = tuple(field for name in _COLUMNS for field in FIELDS if field.name == name)
    return LightCurveView(
        picture=Markup(to_svg(draw(shown, request.positions[0]))),
        fields=fields,
        rows=[_cells(table_row(epoch), fields, root) for epoch in shown],
        truncated=len(epochs) > MAX_EPOCHS,
        asked=values,
    )


def _cells(row: dict[str, object], fields: tuple[Field, ...], root: str) -> list[Cell]:
    return [_cell(field, row[field.name], root) for field in fields]


def _cell(field: Field, value: object, root: str) -> Cell:
    if field.name == "obs_publisher_did":
        return Cell(text=str(value), href=f"{root}/images?ID={quote(str(value), safe='')}")
    if isinstance(value, float):
        return Cell(text=f"{value:.{_DECIMALS.get(field.name, 1)}f}", number=True)
    return Cell(text=format_value(None if value is None else str(value)))

"""The triplets of a place as their page shows them: a strip, an animation and a table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from app.pages.position import format_position, parse_position
from app.pages.result_table import Cell, format_value
from app.schema.access import Identity
from app.schema.fields import Field
from app.services.jobs import ENDED
from app.services.parameters import ParameterSet
from app.services.stamp_builds import StampBuilder
from app.services.stamp_epochs import StampEpoch
from app.services.stamp_request import parse_stamps
from app.services.stamp_table import FIELDS, table_row
from app.services.stamps import StampService
from app.uws.job import Job

SHOWN_EPOCHS: Final = 20
_CHOICES: Final = ("SIZE", "BAND", "TIME", "ID", "COLLECTION")
_COLUMNS: Final = (
    "mjd",
    "lsst_band",
    "template_origin",
    "note",
    "science_did",
    "difference_did",
    "template_did",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TripletView:
    """``fields`` and ``rows`` make a table; ``asked``: the same as parameters of ``/stamps``;
    ``lacking``: epochs without a difference; ``jobs``: what is being built."""

    fields: tuple[Field, ...]
    rows: list[list[Cell]]
    truncated: bool
    asked: list[tuple[str, str]]
    lacking: int
    jobs: list[Job]


def view_triplets(
    stamps: StampService,
    builder: StampBuilder,
    asked: ParameterSet,
    *,
    root: str,
    service_url: str,
    identity: Identity,
) -> TripletView | None:
    """What POS, SIZE and the choice of epochs ask for; None without a position. POS is read as
    people write it; with BUILD=true what is missing is built.

    Raises ParameterError naming the parameter at fault.
    """
    position = asked.single("POS")
    if position is None:
        return None
    values = [("POS", format_position(parse_position(position)))]
    values += [(name, given.strip()) for name in _CHOICES for given in asked.all(name)]
    build = [("BUILD", given) for given in asked.all("BUILD")]
    request = parse_stamps([*values, *build])
    found = stamps.find(request, SHOWN_EPOCHS, identity)
    jobs: list[Job] = []
    if request.build:
        builds = builder.start(found, service_url, identity)
        found = builds.explained(found, builds.jobs)
        jobs = [job for job in builds.jobs.values() if job.phase not in ENDED]
    fields = tuple(field for name in _COLUMNS for field in FIELDS if field.name == name)
    return TripletView(
        fields=fields,
        rows=[_cells(epoch, number, fields, root) for number, epoch in enumerate(found.epochs, 1)],
        truncated=found.truncated,
        asked=[*values, ("MAXREC", str(SHOWN_EPOCHS))],
        lacking=sum(epoch.difference is None for epoch in found.epochs),
        jobs=jobs,
    )


def _cells(epoch: StampEpoch, number: int, fields: tuple[Field, ...], root: str) -> list[Cell]:
    row = table_row(epoch, number)
    return [_cell(field, row[field.name], root) for field in fields]


def _cell(field: Field, value: object, root: str) -> Cell:
    if value is not None and field.name.endswith("_did"):
        return Cell(text=str(value), href=f"{root}/images?ID={quote(str(value), safe='')}")
    if isinstance(value, float):
        return Cell(text=f"{value:.5f}", number=True)
    return Cell(text=format_value(None if value is None else str(value)))

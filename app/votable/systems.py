"""Coordinate and time systems of columns (VOTable 1.4, sections 3.1 and 3.5).

What is known of a column is what its place in ObsCore says: positions and regions are ICRS
(ObsCore 1.1, section 4.10 and below), times are MJD, here in UTC as the observatory's clock showed
it. Every geometry that this service computes is ICRS too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from app.schema.fields import Field

_SPACE: Final = "obscore:Char.SpatialAxis.Coverage."
_TIME: Final = "obscore:Char.TimeAxis.Coverage.Bounds.Limits."
_SYSTEMS: Final = {
    "sys_icrs": '<COOSYS ID="sys_icrs" system="ICRS"/>\n',
    "sys_time": '<TIMESYS ID="sys_time" refposition="TOPOCENTER" timeorigin="MJD-origin"'
    ' timescale="UTC"/>\n',
}
SYSTEM_IDS: Final = frozenset(_SYSTEMS)
_PLACES: Final = ("Location.Coord.Position2D.Value2.C1", "Location.Coord.Position2D.Value2.C2")


def system_of(field: Field) -> str | None:
    """The ID of the system that the values of a field are in, None when it has none."""
    if field.kind in ("point", "region"):
        return "sys_icrs"
    utype = field.utype or ""
    if utype.startswith(_SPACE) and utype.removeprefix(_SPACE) in _PLACES:
        return "sys_icrs"
    return "sys_time" if utype.startswith(_TIME) and field.kind == "real" else None


def format_systems(fields: Sequence[Field]) -> str:
    """The COOSYS and TIMESYS elements that the fields refer to."""
    needed = {system_of(field) for field in fields}
    return "".join(element for name, element in _SYSTEMS.items() if name in needed)

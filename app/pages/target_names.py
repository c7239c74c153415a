"""Names of targets as positions: those that the table of images has, no service elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from app.errors import ParameterError, quoted
from app.pages.position import format_position, parse_position
from app.pages.result_table import Records
from app.sky.predicates import distance_deg
from app.sky.shapes import Point
from app.sky.vectors import add, direction, unit_vector

MAX_IMAGES: Final = 1000
"""Images of a target that are looked at."""
MAX_ALIKE: Final = 8
SPREAD_DEG: Final = 2.0
"""Images of one target have their centres this near to each other; else a name is of several."""
_LONGEST: Final = 80

Ask = Callable[[str], Records]


@dataclass(frozen=True, slots=True)
class Place:
    """A position, and the name that it was found by ("" for one that was given in numbers)."""

    point: Point
    name: str = ""


def find_place(text: str, ask: Ask) -> Place:
    """A position as people write it, or the middle of the images of the target of that name, in any
    case; ``ask`` answers ADQL. Raises ParameterError naming POS: no position and no name known
    here, or one of targets at several places, which it tells."""
    try:
        return Place(parse_position(text))
    except ParameterError as fault:
        if not any(letter.isalpha() for letter in text) or len(text) > _LONGEST:
            raise
        return _find_target(text.strip(), ask, fault)


def _find_target(name: str, ask: Ask, fault: ParameterError) -> Place:
    rows = ask(
        f"SELECT TOP {MAX_IMAGES} target_name, s_ra, s_dec FROM ivoa.ObsCore "
        f"WHERE LOWER(target_name) = LOWER('{_literal(name)}') AND s_ra IS NOT NULL"
    ).by_name()
    if not rows:
        raise ParameterError("POS", _unknown(name, ask, fault))
    points = [Point(float(row["s_ra"] or 0), float(row["s_dec"] or 0)) for row in rows]
    places = _group(points)
    if len(places) > 1:
        told = "; ".join(format_position(place) for place in places[:MAX_ALIKE])
        reason = f"{quoted(name)} is the name of targets at {len(places)} places: give one, {told}"
        raise ParameterError("POS", reason)
    return Place(places[0], str(rows[0]["target_name"]))


def _group(points: Sequence[Point]) -> list[Point]:
    """The middle of each group of directions that are near to its first one."""
    groups: list[list[Point]] = []
    for point in points:
        near = (group for group in groups if distance_deg(group[0], point) <= SPREAD_DEG)
        group = next(near, None)
        if group is None:
            groups.append([point])
        else:
            group.append(point)
    return [_middle(group) for group in groups]


def _middle(points: Sequence[Point]) -> Point:
    total = (0.0, 0.0, 0.0)
    for point in points:
        total = add(total, unit_vector(point.lon_deg, point.lat_deg))
    return Point(*direction(total))


def _unknown(name: str, ask: Ask, fault: ParameterError) -> str:
    """Why it is no position, and what is called alike."""
    pattern = _literal(name.lower()).replace("%", "").replace("_", "")
    rows = ask(
        f"SELECT DISTINCT TOP {MAX_ALIKE} target_name FROM ivoa.ObsCore "
        f"WHERE LOWER(target_name) LIKE '%{pattern}%'"
    ).by_name()
    names = ", ".join(quoted(str(row["target_name"])) for row in rows)
    alike = f"; these are called alike: {names}" if names else ""
    return f"{fault.args[1]}; nor has any image here a target of that name{alike}"


def _literal(text: str) -> str:
    return text.replace("'", "''")

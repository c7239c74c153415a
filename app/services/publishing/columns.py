"""From the columns of a file to those of a published table: names, positions, regions, keys."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from app.errors import ParameterError
from app.schema.fields import Catalog, Field, ForeignKey
from app.schema.reserved import RESERVED
from app.schema.uploads import UPLOAD_SCHEMA

_WORD: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]*\Z")
_LONGEST: Final = 60
_SYSTEM: Final = frozenset(
    {"ivoa", "tap_schema", UPLOAD_SCHEMA.lower(), "information_schema", "uws", "main", "temp"}
)
_MAIN_POSITIONS: Final = (
    ("pos.eq.ra;meta.main", "pos.eq.dec;meta.main"),
    ("pos_eq_ra_main", "pos_eq_dec_main"),
    ("pos.eq.ra", "pos.eq.dec"),
    ("pos_eq_ra", "pos_eq_dec"),
)
_COMMON_POSITIONS: Final = (
    ("ra", "dec"),
    ("ra", "decl"),
    ("s_ra", "s_dec"),
    ("ra_icrs", "de_icrs"),
    ("ra_icrs", "dec_icrs"),
    ("raj2000", "dej2000"),
    ("raj2000", "decj2000"),
    ("_raj2000", "_dej2000"),
    ("ra_deg", "dec_deg"),
    ("radeg", "dedeg"),
    ("radeg", "decdeg"),
    ("ra2000", "dec2000"),
    ("ramean", "decmean"),
    ("coord_ra", "coord_dec"),
    ("alpha_j2000", "delta_j2000"),
    ("alphawin_j2000", "deltawin_j2000"),
)
_DEGREES: Final = (None, "deg", "degree", "degrees")
_REGION_XTYPES: Final = ("adql:region", "stc-s", "polygon", "circle", "dali:polygon", "shape")


@dataclass(frozen=True, slots=True)
class Plan:
    """The columns of a table that is to be, in the order of the file. ``positions`` and
    ``indexed`` use names in the database; ``region`` is the place of the region column."""

    fields: tuple[Field, ...]
    positions: tuple[tuple[str, str], ...]
    region: int | None
    is_circle: bool
    foreign_keys: tuple[ForeignKey, ...]
    notes: tuple[str, ...]


def check_name(name: str) -> tuple[str, str]:
    """Schema and table of ``schema.table``. Raises ParameterError naming what is wrong."""
    words = name.split(".")
    if len(words) != 2:
        raise ParameterError("--name", f"{name!r}: schema.table is needed, as in survey.stars")
    for word in words:
        if not _WORD.match(word) or len(word) > _LONGEST:
            raise ParameterError(
                "--name", f"{word!r}: letters, digits and _ after a letter, at most {_LONGEST}"
            )
        if word.upper() in RESERVED:
            raise ParameterError("--name", f"{word!r} is a reserved word of ADQL; choose another")
    schema = words[0].lower()
    if schema in _SYSTEM or schema.startswith(("pg_", "sqlite_")):
        raise ParameterError("--name", f"the schema {words[0]!r} belongs to the service")
    return words[0], words[1]


def plan_columns(
    fields: Sequence[Field],
    *,
    name: str,
    catalog: Catalog,
    position: tuple[str, str] | None = None,
    keys: Sequence[tuple[str, str]] = (),
) -> Plan:
    """How the columns of a file are published.

    ``position`` names the columns of a position instead of the rules; ``keys`` pairs of a column
    and ``schema.table.column`` it refers to. Raises ParameterError.
    """
    notes: list[str] = []
    named = _with_names(fields, notes)
    region = _find_region(named)
    if region is not None:
        was = named[region]
        notes.append(f"column {was.name} holds regions: indexed")
        named[region] = replace(
            was, kind="region", datatype="char", arraysize="*", xtype="adql:REGION", indexed=True
        )
    positions = _find_positions(named, position, notes)
    in_positions = {column for pair in positions for column in pair}
    foreign = tuple(_foreign_key(named, name, catalog, *key) for key in keys)
    in_keys = {column for key in foreign for column, _ in key.columns}
    described = [
        replace(
            field,
            indexed=field.indexed
            or field.physical in in_positions
            or field.name in in_keys
            or _is_main_id(field),
            principal=True,
        )
        for field in named
    ]
    is_circle = region is not None and (fields[region].xtype or "").lower() == "circle"
    return Plan(tuple(described), positions, region, is_circle, foreign, tuple(notes))


def _is_main_id(field: Field) -> bool:
    return field.kind in ("text", "integer") and (field.ucd or "").lower() == "meta.id;meta.main"


def _with_names(fields: Sequence[Field], notes: list[str]) -> list[Field]:
    """Names that a query can tell apart: ADQL does not heed the case of bare ones. In the database
    the columns are numbered, so that no name there can mean anything."""
    taken: set[str] = set()
    named = []
    for number, field in enumerate(fields, start=1):
        name = _clean(field.name) or f"column{number}"
        base, count = name, 1
        while name.lower() in taken:
            count += 1
            name = f"{base}_{count}"
        taken.add(name.lower())
        if name != field.name:
            notes.append(f"column {number}, {field.name!r}, is called {name}")
        named.append(replace(field, name=name, column=f"col{number}"))
    return named


def _clean(name: str) -> str:
    """Without control characters and quotes, blanks at the ends, or undue length."""
    return re.sub(r"[\x00-\x1f\x7f\"]", "_", name).strip()[:_LONGEST]


def _find_region(fields: Sequence[Field]) -> int | None:
    """The first column of text that its xtype, UCD or name calls a region."""
    for number, field in enumerate(fields):
        if field.kind == "text" and (
            (field.xtype or "").lower() in _REGION_XTYPES
            or field.name.lower() == "s_region"
            or (field.ucd or "").lower().startswith("pos.outline")
        ):
            return number
    return None


def _find_positions(
    fields: Sequence[Field], asked: tuple[str, str] | None, notes: list[str]
) -> tuple[tuple[str, str], ...]:
    if asked is not None:
        pair = tuple(_get_field(fields, name, "--position") for name in asked)
        for field in pair:
            if field.kind not in ("real", "integer"):
                raise ParameterError("--position", f"column {field.name} holds no numbers")
        return ((pair[0].physical, pair[1].physical),)
    found = _described_pair(fields)
    if found is None:
        notes.append("no position columns were found: give --position ra,dec if there are some")
        return ()
    lon, lat = found
    foreign = [f for f in found if (f.unit or "").lower() not in _DEGREES[1:] and f.unit]
    if foreign:
        notes.append(
            f"columns {lon.name} and {lat.name} are no index: the unit is {foreign[0].unit}, "
            "searches want degrees"
        )
        return ()
    notes.append(f"columns {lon.name} and {lat.name} hold the position: indexed")
    return ((lon.physical, lat.physical),)


def _described_pair(fields: Sequence[Field]) -> tuple[Field, Field] | None:
    numeric = [f for f in fields if f.kind in ("real", "integer")]
    for ucds in _MAIN_POSITIONS:
        pair = [next((f for f in numeric if (f.ucd or "").lower() == ucd), None) for ucd in ucds]
        if pair[0] is not None and pair[1] is not None:
            return pair[0], pair[1]
    by_name = {f.name.lower(): f for f in numeric}
    for lon, lat in _COMMON_POSITIONS:
        if lon in by_name and lat in by_name:
            return by_name[lon], by_name[lat]
    return None


def _foreign_key(
    fields: Sequence[Field], name: str, catalog: Catalog, column: str, target: str
) -> ForeignKey:
    field = _get_field(fields, column, "--key")
    table_name, _, target_column = target.rpartition(".")
    table = catalog.by_name().get(table_name.lower())
    if table is None:
        known = ", ".join(t.name for t in catalog.tables if t.schema_name != "tap_schema")
        raise ParameterError("--key", f"there is no table {table_name!r}; there are {known}")
    there = table.find_field(target_column)
    if there is None:
        raise ParameterError("--key", f"{table.name} has no column {target_column!r}")
    if (there.kind == "text") != (field.kind == "text"):
        raise ParameterError(
            "--key", f"{field.name} ({field.kind}) cannot refer to {there.name} ({there.kind})"
        )
    return ForeignKey(
        key_id=f"{name.replace('.', '_').lower()}_{field.name.lower()}",
        target=table.name,
        columns=((field.name, there.name),),
    )


def _get_field(fields: Iterable[Field], name: str, parameter: str) -> Field:
    known = {field.name.lower(): field for field in fields}
    found = known.get(name.strip().lower())
    if found is None:
        names = ", ".join(field.name for field in known.values())
        raise ParameterError(parameter, f"there is no column {name!r}; there are {names}")
    return found

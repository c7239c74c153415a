"""What values are to a query: kinds, which go together, and how a kind looks in a result."""

from __future__ import annotations

from typing import Final, Literal

from app.schema.fields import Datatype, Kind

ValueKind = Literal["integer", "real", "text", "boolean", "timestamp", "point", "region", "null"]
"""The kinds of columns, and ``null`` for the literal NULL, which goes with anything."""

_FAMILIES: Final[dict[ValueKind, str]] = {
    "integer": "number",
    "real": "number",
    "text": "text",
    "timestamp": "text",
    "boolean": "boolean",
    "point": "geometry",
    "region": "geometry",
}

_DATATYPES: Final[dict[Kind, tuple[Datatype, str | None, str | None]]] = {
    "integer": ("long", None, None),
    "real": ("double", None, None),
    "boolean": ("boolean", None, None),
    "text": ("char", "*", None),
    "timestamp": ("char", "*", "timestamp"),
    "point": ("double", "2", "point"),
    "region": ("double", "*", "polygon"),
}


def is_number(kind: ValueKind) -> bool:
    """Whether arithmetic is possible."""
    return kind in ("integer", "real", "null")


def is_text(kind: ValueKind) -> bool:
    """Whether it is written in quotes."""
    return kind in ("text", "timestamp", "null")


def are_comparable(a: ValueKind, b: ValueKind) -> bool:
    """Whether two values may be compared."""
    return "null" in (a, b) or (_FAMILIES[a] == _FAMILIES[b] and _FAMILIES[a] != "geometry")


def common_kind(kinds: list[ValueKind]) -> ValueKind:
    """The kind that holds values of all these comparable kinds."""
    known: list[ValueKind] = [kind for kind in kinds if kind != "null"]
    if not known:
        return "null"
    if all(kind == known[0] for kind in known):
        return known[0]
    return "real" if "real" in known else "text"


def column_form(kind: ValueKind) -> tuple[Kind, Datatype, str | None, str | None]:
    """(kind, datatype, arraysize, xtype) of a result column; NULL alone travels as text."""
    shown: Kind = "text" if kind == "null" else kind
    return (shown, *_DATATYPES[shown])

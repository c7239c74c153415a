"""What values are, in words for messages."""

from __future__ import annotations

from app.adql.kinds import ValueKind
from app.adql.typed import Column, Expression


def describe(kind: ValueKind) -> str:
    """The kind in words."""
    return {"integer": "a number", "real": "a number", "text": "a string", "null": "NULL"}.get(
        kind, f"a {kind}"
    )


def describe_value(value: Expression) -> str:
    """The kind of a value in words; numbers that a query has as text are called what they are."""
    if isinstance(value, Column) and value.kind == "text":
        if value.field.datatype in ("floatComplex", "doubleComplex"):
            return f"the complex numbers of {value.field.name}, which a query can only pass on"
        if value.field.datatype not in ("char", "unicodeChar"):
            return f"the arrays of {value.field.name}, which a query can only pass on"
    return describe(value.kind)

"""RAND with a seed: a number that the seed and the row determine, on either engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from app.adql.scope import Visible
from app.adql.typed import Cast, Concatenation, Expression, Function, Literal

_MAIN: Final = ("meta.id;meta.main", "meta.ref.ivoid")
"""UCDs of columns that name a row."""

_TEXTUAL: Final = frozenset({"text", "timestamp"})


def seeded_random(seed: int, columns: Sequence[Visible]) -> Function:
    """From 0 to 1; drawn by the columns that name a row where there are such, otherwise by all."""
    named = [c for c in columns if c.field.ucd in _MAIN]
    kinds = ("integer", "real", "text", "timestamp")
    parts = [_text(c.expression) for c in named or columns if c.field.kind in kinds]
    separated = [part for text in parts for part in (Literal("|", "text"), text)]
    text = Concatenation((Literal(str(seed), "text"), *separated)) if parts else None
    return Function("RAND_OF", (text or Literal(str(seed), "text"),), "real")


def _text(value: Expression) -> Expression:
    text = value if value.kind in _TEXTUAL else Cast(value, "VARCHAR", None, "text")
    return Function("COALESCE", (text, Literal("", "text")), "text")

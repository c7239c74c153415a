"""The end of the compiler: one statement for one engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from app.schema.fields import Field

Target = Literal["sqlite", "postgres"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledQuery:
    """SQL with named binds (``:name``, as ``sqlalchemy.text`` reads them) and its result columns.

    The statement returns at most ``maxrec + 1`` rows: one row more than ``maxrec`` means that the
    answer was truncated (OVERFLOW). With ``TOP n``, n <= maxrec, at most n rows come.
    """

    sql: str
    binds: Mapping[str, str | int | float | None]
    fields: tuple[Field, ...]
    maxrec: int
    target: Target

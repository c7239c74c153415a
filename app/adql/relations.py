"""Queries and what stands in their FROM, with every name and kind known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from typing import Literal as Word

from app.adql.typed import Column, Condition, Expression
from app.adql.walk import has_aggregate
from app.schema.fields import Field, Table

COMPUTED: Final = Table(schema_name="", name="", physical="", fields=())
"""The table of columns that a subquery computes."""


@dataclass(frozen=True, slots=True)
class Scan:
    """A table of the catalog under a number that names it in this query."""

    source: int
    table: Table


@dataclass(frozen=True, slots=True)
class Derived:
    """A subquery in FROM, or a set expression."""

    source: int
    query: Query | SetQuery


@dataclass(frozen=True, slots=True)
class NamedQuery:
    """A query of WITH; ``number`` names it."""

    number: int
    query: Query


@dataclass(frozen=True, slots=True)
class NamedScan:
    """A query of WITH where it stands in FROM."""

    source: int
    named: NamedQuery


@dataclass(frozen=True, slots=True)
class Joined:
    """Two tables joined; no condition means every pair."""

    kind: Word["INNER", "LEFT", "RIGHT", "FULL"]
    left: Source
    right: Source
    condition: Condition | None


Source = Scan | Derived | NamedScan | Joined


@dataclass(frozen=True, slots=True)
class Output:
    """A column of the answer."""

    expression: Expression
    field: Field


@dataclass(frozen=True, slots=True)
class OrderKey:
    """One key of the order; ``output`` is the column of the answer that it is, if it is one."""

    expression: Expression
    descending: bool
    output: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One SELECT, ready to be written. ``outer`` are the columns it takes from the queries around
    it, ``named`` the queries of WITH (of the outermost one only)."""

    outputs: tuple[Output, ...]
    sources: tuple[Source, ...]
    where: Condition | None = None
    group_by: tuple[Expression, ...] = ()
    having: Condition | None = None
    order_by: tuple[OrderKey, ...] = ()
    distinct: bool = False
    top: int | None = None
    offset: int | None = None
    outer: tuple[Column, ...] = ()
    named: tuple[NamedQuery, ...] = ()

    @property
    def is_grouped(self) -> bool:
        """Whether its rows are groups of rows."""
        grouped = bool(self.group_by) or self.having is not None
        return grouped or any(has_aggregate(output.expression) for output in self.outputs)

    @property
    def has_one_row(self) -> bool:
        """Whether it can be seen that there is one row at most."""
        few = self.top is not None and self.top <= 1
        return few or (self.is_grouped and not self.group_by)

    @property
    def is_cut(self) -> bool:
        """Whether the order of its rows matters to which there are."""
        return bool(self.top is not None or self.offset)


SetStep = tuple[Word["UNION", "EXCEPT", "INTERSECT"], bool, Query]
"""Operator, ALL, operand."""


@dataclass(frozen=True, slots=True)
class SetQuery:
    """Set operators applied from the left; all operands have the same columns."""

    first: Query
    rest: tuple[SetStep, ...]

    @property
    def outer(self) -> tuple[Column, ...]:
        """The columns taken from the queries around it."""
        return (*self.first.outer, *(c for _, _, operand in self.rest for c in operand.outer))


def sources_in(source: Source) -> frozenset[int]:
    """The numbers of the tables in a source."""
    if isinstance(source, Joined):
        return sources_in(source.left) | sources_in(source.right)
    return frozenset((source.source,))

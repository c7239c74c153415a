"""Pieces of syntax trees for queries that are made of parameters instead of text.

What is made here goes the way of every query from :func:`app.adql.compile.compile_tree` on. Trees
with equal contents are equal, so that a statement that was compiled is found again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

from app.adql.tree import (
    At,
    Call,
    ColumnRef,
    Comparison,
    Condition,
    InList,
    InQuery,
    IsNull,
    Join,
    Junction,
    KnownRegion,
    Like,
    Name,
    Number,
    Query,
    Select,
    SelectAll,
    SelectItem,
    String,
    TableName,
    TableReference,
    Value,
)
from app.sky.shapes import Region

_NOWHERE: Final = At(1, 1)
"""No text has these nodes; a message would point at its beginning."""


def column(name: str) -> ColumnRef:
    """A column by its name, ``table.column`` with a qualifier."""
    return ColumnRef(tuple(Name(word, False, _NOWHERE) for word in name.split(".")), _NOWHERE)


def table(name: str, alias: str | None = None) -> TableName:
    """A table by its qualified name."""
    parts = tuple(Name(word, False, _NOWHERE) for word in name.split("."))
    return TableName(parts, None if alias is None else Name(alias, False, _NOWHERE), _NOWHERE)


def at_least(name: str, value: float) -> Condition:
    """``name >= value``."""
    return Comparison(">=", column(name), Number(value, _NOWHERE), _NOWHERE)


def at_most(name: str, value: float) -> Condition:
    """``name <= value``."""
    return Comparison("<=", column(name), Number(value, _NOWHERE), _NOWHERE)


def is_known(name: str) -> Condition:
    """``name IS NOT NULL``."""
    return IsNull(column(name), True, _NOWHERE)


def among(operand: Value, values: Sequence[str | int]) -> Condition:
    """``operand IN (values)``."""
    items = (
        String(value, _NOWHERE) if isinstance(value, str) else Number(value, _NOWHERE)
        for value in values
    )
    return InList(operand, tuple(items), False, _NOWHERE)


def like(name: str, pattern: str) -> Condition:
    """``name LIKE pattern``."""
    return Like(column(name), String(pattern, _NOWHERE), False, False, _NOWHERE)


def call(name: str, *arguments: Value) -> Call:
    """A function of the language, by its upper-case name."""
    return Call(name, arguments, True, "", _NOWHERE)


def is_true(function: Call) -> Condition:
    """``function = 1``, as geometric relations are asked."""
    return Comparison("=", function, Number(1, _NOWHERE), _NOWHERE)


def meets(name: str, region: Region) -> Condition:
    """Whether a column of regions has a direction in common with a region."""
    return is_true(call("INTERSECTS", KnownRegion(region, _NOWHERE), column(name)))


def any_of(terms: Sequence[Condition]) -> Condition:
    """One term or the other; at least one is given."""
    return _joined("OR", terms)


def all_of(terms: Sequence[Condition]) -> Condition:
    """One term and the other; at least one is given."""
    return _joined("AND", terms)


def _joined(word: Literal["AND", "OR"], terms: Sequence[Condition]) -> Condition:
    return terms[0] if len(terms) == 1 else Junction(word, tuple(terms), _NOWHERE)


def joined(left: TableReference, right: TableReference, condition: Condition) -> Join:
    """``left JOIN right ON condition``."""
    return Join("INNER", False, left, right, condition, (), _NOWHERE)


def select(
    source: TableReference, *, column_name: str | None = None, where: Condition | None = None
) -> Query:
    """All columns of a source, or one, of the rows for which a condition holds."""
    items: tuple[SelectItem | SelectAll, ...] = (SelectAll((), _NOWHERE),)
    if column_name is not None:
        items = (SelectItem(column(column_name), None),)
    body = Select(False, None, items, (source,), where, (), None, _NOWHERE)
    return Query(body, (), None, (), _NOWHERE)


def in_query(name: str, query: Query) -> Condition:
    """``name IN (query)``."""
    return InQuery(column(name), query, False, _NOWHERE)

"""What a query says, before any name is looked up: the syntax tree with positions.

Chains (``a + b - c``, ``x AND y AND z``, ``s UNION t EXCEPT u``) are flat, so the depth of a tree
is the depth of its parentheses, which the parser bounds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from app.sky.shapes import Region


class At(NamedTuple):
    """A place in the query text, both counted from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Name:
    """An identifier as written; a delimited one keeps its case and may be any text."""

    text: str
    delimited: bool
    at: At = field(compare=False)


@dataclass(frozen=True, slots=True)
class ColumnRef:
    """``[[[catalog.]schema.]table.]column``."""

    parts: tuple[Name, ...]
    at: At = field(compare=False)


@dataclass(frozen=True, slots=True)
class Number:
    """An unsigned numeric literal."""

    value: int | float
    at: At = field(compare=False)


@dataclass(frozen=True, slots=True)
class String:
    """A character literal."""

    value: str
    at: At = field(compare=False)


@dataclass(frozen=True, slots=True)
class Null:
    """The literal NULL."""

    at: At = field(compare=False)


@dataclass(frozen=True, slots=True)
class KnownRegion:
    """A region as a value. No text says it: it comes from queries that are made of parameters."""

    shape: Region
    at: At = field(compare=False)


@dataclass(frozen=True, slots=True)
class Signed:
    """A leading minus."""

    operand: Value
    at: At = field(compare=False)


Operator = Literal["+", "-", "*", "/"]


@dataclass(frozen=True, slots=True)
class Chain:
    """Operators of one precedence, applied from the left."""

    first: Value
    rest: tuple[tuple[Operator, Value], ...]
    at: At = field(compare=False)


@dataclass(frozen=True, slots=True)
class Concatenation:
    """``a || b || …``."""

    parts: tuple[Value, ...]
    at: At = field(compare=False)


@dataclass(frozen=True, slots=True)
class Call:
    """A function of the language (upper-case name) or, with ``reserved`` False, of the user.

    ``frame`` is the deprecated coordinate system argument of a geometry, upper-case.
    """

    name: str
    arguments: tuple[Value, ...]
    reserved: bool
    frame: str
    at: At = field(compare=False)


@dataclass(frozen=True, slots=True)
class Aggregate:
    """``COUNT(*)`` has no argument."""

    name: str
    distinct: bool
    argument: Value | None
    at: At = field(compare=False)


@dataclass(frozen=True, slots=True)
class Cast:
    """``CAST(operand AS target)``; ``length`` of CHAR and VARCHAR."""

    operand: Value
    target: str
    length: int | None
    at: At = field(compare=False)


@dataclass(frozen=True, slots=True)
class Subquery:
    """``(query)`` where a value stands."""

    query: Query
    at: At = field(compare=False)


@dataclass(frozen=True, slots=True)
class Case:
    """``CASE WHEN condition THEN value … [ELSE default] END``."""

    branches: tuple[tuple[Condition, Value], ...]
    default: Value | None
    at: At = field(compare=False)


@dataclass(frozen=True, slots=True)
class Switch:
    """``CASE operand WHEN value THEN value … [ELSE default] END``."""

    operand: Value
    branches: tuple[tuple[Value, Value], ...]
    default: Value | None
    at: At = field(compare=False)


Value = (
    ColumnRef
    | Number
    | String
    | Null
    | KnownRegion
    | Signed
    | Chain
    | Concatenation
    | Call
    | Aggregate
    | Cast
    | Subquery
    | Case
    | Switch
)


@dataclass(frozen=True, slots=True)
class Junction:
    """Conditions joined by AND or by OR."""

    word: Literal["AND", "OR"]
    terms: tuple[Condition, ...]
    at: At = field(compare=False)


@dataclass(frozen=True, slots=True)
class Not:
    """Negation."""

    term: Condition
    at: At = field(compare=False)


@dataclass(frozen=True, slots=True)
class Comparison:
    """``left operator right``; the operator is one of = <> < <= > >=."""

    operator: str
    left: Value
    right: Value
    at: At = field(compare=False)


@dataclass(frozen=True, slots=True)
class Between:
    """``operand [NOT] BETWEEN low AND high``."""

    operand: Value
    low: Value
    high: Value
    negated: bool
    at: At = field(compare=False)


@dataclass(frozen=True, slots=True)
class InList:
    """``operand [NOT] IN (items)``."""

    operand: Value
    items: tuple[Value, ...]
    negated: bool
    at: At = field(compare=False)


@dataclass(frozen=True, slots=True)
class InQuery:
    """``operand [NOT] IN (query)``."""

    operand: Value
    query: Query
    negated: bool
    at: At = field(compare=False)


@dataclass(frozen=True, slots=True)
class Like:
    """``operand [NOT] LIKE pattern``; ILIKE folds case."""

    operand: Value
    pattern: Value
    negated: bool
    folded: bool
    at: At = field(compare=False)


@dataclass(frozen=True, slots=True)
class IsNull:
    """``column IS [NOT] NULL``."""

    operand: ColumnRef
    negated: bool
    at: At = field(compare=False)


@dataclass(frozen=True, slots=True)
class Exists:
    """``EXISTS (query)``."""

    query: Query
    at: At = field(compare=False)


Condition = Junction | Not | Comparison | Between | InList | InQuery | Like | IsNull | Exists


@dataclass(frozen=True, slots=True)
class SelectItem:
    """A column of the answer."""

    value: Value
    alias: Name | None


@dataclass(frozen=True, slots=True)
class SelectAll:
    """``*``, or ``table.*`` with a qualifier."""

    qualifier: tuple[Name, ...]
    at: At = field(compare=False)


@dataclass(frozen=True, slots=True)
class TableName:
    """``[[catalog.]schema.]table [AS alias]``."""

    parts: tuple[Name, ...]
    alias: Name | None
    at: At = field(compare=False)


@dataclass(frozen=True, slots=True)
class DerivedTable:
    """``(query) AS alias``."""

    query: Query
    alias: Name
    at: At = field(compare=False)


@dataclass(frozen=True, slots=True)
class Join:
    """``left [NATURAL] kind JOIN right [ON condition | USING (columns)]``."""

    kind: Literal["INNER", "LEFT", "RIGHT", "FULL", "CROSS"]
    natural: bool
    left: TableReference
    right: TableReference
    condition: Condition | None
    using: tuple[Name, ...]
    at: At = field(compare=False)


TableReference = TableName | DerivedTable | Join


@dataclass(frozen=True, slots=True)
class OrderTerm:
    """One key of ORDER BY."""

    value: Value
    descending: bool


@dataclass(frozen=True, slots=True)
class Select:
    """One SELECT; ``top`` None means all rows."""

    distinct: bool
    top: int | None
    items: tuple[SelectItem | SelectAll, ...]
    tables: tuple[TableReference, ...]
    where: Condition | None
    group_by: tuple[Value, ...]
    having: Condition | None
    at: At = field(compare=False)


@dataclass(frozen=True, slots=True)
class SetOperation:
    """``first`` followed by (operator, ALL, operand), applied from the left."""

    first: Body
    rest: tuple[tuple[Literal["UNION", "EXCEPT", "INTERSECT"], bool, Body], ...]
    at: At = field(compare=False)


@dataclass(frozen=True, slots=True)
class Query:
    """A SELECT or a set expression with its order and offset; CTEs at the top level only."""

    body: Body
    order_by: tuple[OrderTerm, ...]
    offset: int | None
    ctes: tuple[tuple[Name, Query], ...]
    at: At = field(compare=False)


Body = Select | SetOperation | Query

"""A query with every name and kind known: what the dialects write as SQL.

No text of the user's is left here but literal values, which become binds: tables and columns are
those of the catalog.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal as Word

from app.adql.kinds import ValueKind
from app.adql.tree import Operator
from app.schema.fields import Field, Table
from app.sky.shapes import Circle, Point, Polygon


@dataclass(frozen=True, slots=True)
class Column:
    """Column ``field`` of the table that stands in FROM under number ``source``."""

    source: int
    table: Table
    field: Field

    @property
    def kind(self) -> ValueKind:
        """The field's kind."""
        return self.field.kind


@dataclass(frozen=True, slots=True)
class Literal:
    """A constant."""

    value: int | float | str | None
    kind: ValueKind


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """``first`` and then operators from the left; a leading minus is ``0 - x``'s like."""

    first: Expression
    rest: tuple[tuple[Operator, Expression], ...]
    kind: ValueKind


@dataclass(frozen=True, slots=True)
class Negative:
    """``-operand``."""

    operand: Expression

    @property
    def kind(self) -> ValueKind:
        """The operand's kind."""
        return self.operand.kind


@dataclass(frozen=True, slots=True)
class Concatenation:
    """Strings joined."""

    parts: tuple[Expression, ...]
    kind: ValueKind = "text"


@dataclass(frozen=True, slots=True)
class Function:
    """A function of the language, by its upper-case name."""

    name: str
    arguments: tuple[Expression, ...]
    kind: ValueKind


@dataclass(frozen=True, slots=True)
class Aggregate:
    """COUNT (without an argument: of rows), SUM, AVG, MIN, MAX."""

    name: str
    distinct: bool
    argument: Expression | None
    kind: ValueKind


@dataclass(frozen=True, slots=True)
class PointOf:
    """A direction from two numbers (deg)."""

    lon: Expression
    lat: Expression
    kind: ValueKind = "point"


@dataclass(frozen=True, slots=True)
class CircleOf:
    """A circle from three numbers (deg)."""

    lon: Expression
    lat: Expression
    radius: Expression
    kind: ValueKind = "region"


@dataclass(frozen=True, slots=True)
class PolygonOf:
    """A polygon from numbers (deg): lon, lat, lon, lat …"""

    coordinates: tuple[Expression, ...]
    kind: ValueKind = "region"


@dataclass(frozen=True, slots=True)
class Constant:
    """A geometry known when the query is compiled."""

    shape: Point | Circle | Polygon

    @property
    def kind(self) -> ValueKind:
        """Point or region."""
        return "point" if isinstance(self.shape, Point) else "region"


Geometry = Column | PointOf | CircleOf | PolygonOf | Constant


@dataclass(frozen=True, slots=True)
class Spatial:
    """1, 0 or NULL: whether ``inner`` lies within ``outer``, or whether both overlap."""

    relation: Word["within", "overlap"]
    inner: Geometry
    outer: Geometry
    kind: ValueKind = "integer"


@dataclass(frozen=True, slots=True)
class Separation:
    """Great-circle distance (deg) of two directions."""

    start: PointOf | Constant
    end: PointOf | Constant
    kind: ValueKind = "real"


@dataclass(frozen=True, slots=True)
class RegionSize:
    """Surface (deg2) of a region."""

    region: Geometry
    kind: ValueKind = "real"


@dataclass(frozen=True, slots=True)
class RegionDistance:
    """Distance (deg) from a direction to the nearest point of a polygon; 0 inside."""

    region: Column
    point: PointOf | Constant
    kind: ValueKind = "real"


Expression = (
    Column
    | Literal
    | Arithmetic
    | Negative
    | Concatenation
    | Function
    | Aggregate
    | PointOf
    | CircleOf
    | PolygonOf
    | Constant
    | Spatial
    | Separation
    | RegionSize
    | RegionDistance
)


@dataclass(frozen=True, slots=True)
class Junction:
    """Terms joined by AND or OR."""

    word: Word["AND", "OR"]
    terms: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """Negation."""

    term: Condition


@dataclass(frozen=True, slots=True)
class Comparison:
    """One of = <> < <= > >=."""

    operator: str
    left: Expression
    right: Expression


@dataclass(frozen=True, slots=True)
class Between:
    """Both ends belong to it."""

    operand: Expression
    low: Expression
    high: Expression


@dataclass(frozen=True, slots=True)
class InList:
    """Equal to one of the items."""

    operand: Expression
    items: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Like:
    """% and _ stand for any text and any character; nothing escapes them."""

    operand: Expression
    pattern: Expression
    folded: bool


@dataclass(frozen=True, slots=True)
class IsNull:
    """NULL or not."""

    operand: Expression


@dataclass(frozen=True, slots=True)
class SpatialTest:
    """A spatial relation used as a condition."""

    spatial: Spatial


@dataclass(frozen=True, slots=True)
class Cone:
    """``separation < radius`` (or <=), the preferred form of a cone search (ADQL 2.1, 4.2.14)."""

    separation: Separation
    operator: Word["<", "<="]
    radius: Expression


Condition = Junction | Not | Comparison | Between | InList | Like | IsNull | SpatialTest | Cone


@dataclass(frozen=True, slots=True)
class Scan:
    """A table of the catalog under a number that names it in this query."""

    source: int
    table: Table


@dataclass(frozen=True, slots=True)
class Joined:
    """Two tables joined; no condition means every pair."""

    kind: Word["INNER", "LEFT", "RIGHT", "FULL"]
    left: Source
    right: Source
    condition: Condition | None


Source = Scan | Joined


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
class TypedQuery:
    """One SELECT, ready to be written."""

    outputs: tuple[Output, ...]
    sources: tuple[Source, ...]
    where: Condition | None
    group_by: tuple[Expression, ...]
    having: Condition | None
    order_by: tuple[OrderKey, ...]
    distinct: bool
    top: int | None
    offset: int | None


def children(expression: Expression) -> tuple[Expression, ...]:
    """The expressions directly below one."""
    below: tuple[Expression | None, ...] = ()
    match expression:
        case Arithmetic(first, rest, _):
            below = (first, *(value for _, value in rest))
        case Negative(operand) | RegionSize(operand):
            below = (operand,)
        case Concatenation(parts) | PolygonOf(parts) | Function(_, parts, _):
            below = parts
        case Aggregate(_, _, argument, _):
            below = (argument,)
        case PointOf(a, b) | Spatial(_, a, b) | Separation(a, b) | RegionDistance(a, b):
            below = (a, b)
        case CircleOf(lon, lat, radius):
            below = (lon, lat, radius)
    return tuple(child for child in below if child is not None)


def operands(condition: Condition) -> tuple[Expression, ...]:
    """The expressions directly below a condition, its inner conditions included."""
    below: tuple[Expression, ...] = ()
    match condition:
        case Junction(_, terms):
            below = tuple(x for term in terms for x in operands(term))
        case Not(term):
            below = operands(term)
        case Comparison(_, left, right) | Like(left, right, _) | Cone(left, _, right):
            below = (left, right)
        case Between(operand, low, high):
            below = (operand, low, high)
        case InList(operand, items):
            below = (operand, *items)
        case IsNull(operand) | SpatialTest(operand):
            below = (operand,)
    return below


def has_aggregate(expression: Expression) -> bool:
    """Whether an aggregate stands anywhere in the expression."""
    return isinstance(expression, Aggregate) or any(map(has_aggregate, children(expression)))


def has_random(expression: Expression) -> bool:
    """Whether RAND() stands anywhere in the expression."""
    if isinstance(expression, Function) and expression.name == "RAND":
        return True
    return any(map(has_random, children(expression)))

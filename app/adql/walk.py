"""What stands below and in an expression or a condition."""

from __future__ import annotations

from collections.abc import Iterator

from app.adql.typed import (
    Aggregate,
    Arithmetic,
    Between,
    BoxOf,
    Case,
    Cast,
    CentroidPart,
    CircleOf,
    Column,
    Comparison,
    Concatenation,
    Condition,
    Cone,
    Converted,
    Exists,
    Expression,
    Function,
    InList,
    InQuery,
    InUnit,
    IsNull,
    Junction,
    Like,
    Literal,
    Negative,
    Not,
    PointOf,
    PolygonOf,
    RegionDistance,
    RegionSize,
    ScalarQuery,
    Separation,
    Spatial,
    SpatialTest,
    Switch,
)


def children(expression: Expression) -> tuple[Expression, ...]:
    """The expressions directly below one; of a subquery, what it takes from around it."""
    below: tuple[Expression | None, ...] = ()
    match expression:
        case Arithmetic(first, rest, _):
            below = (first, *(value for _, value in rest))
        case Negative(operand) | RegionSize(operand) | Converted(operand):
            below = (operand,)
        case Cast(operand) | InUnit(operand) | CentroidPart(operand):
            below = (operand,)
        case Concatenation(parts) | PolygonOf(parts) | Function(_, parts, _):
            below = parts
        case Aggregate(_, _, argument, _):
            below = (argument,)
        case PointOf(a, b) | Spatial(_, a, b) | Separation(a, b) | RegionDistance(a, b):
            below = (a, b)
        case CircleOf(lon, lat, radius):
            below = (lon, lat, radius)
        case BoxOf(lon, lat, width, height):
            below = (lon, lat, width, height)
        case ScalarQuery(query):
            below = query.outer
        case Case(branches, default):
            tests = (x for test, _ in branches for x in operands(test))
            below = (*tests, *(value for _, value in branches), default)
        case Switch(operand, branches, default):
            below = (operand, *(value for branch in branches for value in branch), default)
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
        case InQuery(operand, query):
            below = (operand, *query.outer)
        case Exists(query):
            below = query.outer
    return below


def has_aggregate(expression: Expression) -> bool:
    """Whether an aggregate stands anywhere in the expression."""
    if isinstance(expression, Column | Literal):
        return False
    return isinstance(expression, Aggregate) or any(map(has_aggregate, children(expression)))


def has_random(expression: Expression) -> bool:
    """Whether RAND() stands anywhere in the expression."""
    if isinstance(expression, Function) and expression.name == "RAND":
        return True
    return any(map(has_random, children(expression)))


def columns_in(expression: Expression) -> Iterator[Column]:
    """The columns that stand anywhere in the expression."""
    if isinstance(expression, Column):
        yield expression
    for child in children(expression):
        yield from columns_in(child)

"""How large a number can become, so that only those steps of arithmetic that may overflow are
guarded.

PostgreSQL raises where a double overflows or a product vanishes, SQLite goes on with infinity. A
step is therefore guarded on either engine where the magnitudes of its operands do not rule that
out. Doubles in tables are taken to lie between 1e-100 and 1e100 or to be zero.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from app.adql.tree import Operator
from app.adql.typed import (
    Aggregate,
    Arithmetic,
    Case,
    Column,
    Converted,
    Expression,
    Function,
    Literal,
    Negative,
    RegionDistance,
    RegionSize,
    ScalarQuery,
    Separation,
    Switch,
)
from app.schema.fields import Datatype

Bounds = tuple[float, float]
"""Decimal logarithms of the least and the greatest absolute value, zero left aside."""

WHOLE_END: Final = 18.9
"""Whole numbers below 10 to this power are in range (2^63 is 10^18.96)."""

_STORED: Final[Bounds] = (-100.0, 100.0)
_ANY: Final[Bounds] = (-324.0, 308.3)
_ANY_WHOLE: Final[Bounds] = (0.0, 19.0)
_ANGLE: Final[Bounds] = (-120.0, 3.0)
_DIGITS: Final = 17.0
"""A difference keeps this many digits at most, so it is that much smaller at most."""
_MANY: Final = 12.0
"""Tables have fewer rows than 10 to this power."""

_DATATYPES: Final[dict[Datatype, Bounds]] = {"short": (0.0, 4.6), "int": (0.0, 9.4)}

_FUNCTIONS: Final[dict[str, Bounds]] = {
    **dict.fromkeys(("SIN", "COS", "ASIN", "ACOS", "ATAN", "ATAN2"), _ANGLE),
    **dict.fromkeys(("LOG", "LOG10"), (-_DIGITS, 3.0)),
}
_SAME: Final = frozenset({"ABS", "FLOOR", "CEILING", "COALESCE"})


def magnitude(expression: Expression) -> Bounds:
    """The bounds of a number."""
    any_number = _ANY_WHOLE if expression.kind == "integer" else _ANY
    bounds = any_number
    match expression:
        case Literal(value):
            size = abs(value) if isinstance(value, int | float) else 0
            bounds = (math.log10(size),) * 2 if size else (0.0, 0.0)
        case Column():
            bounds = _of_column(expression)
        case Negative(operand) | Converted(operand):
            bounds = magnitude(operand)
        case Arithmetic():
            bounds = _of_chain(expression)
        case Case() | Switch():
            values = [value for _, value in expression.branches]
            bounds = _joined([*values, *([expression.default] if expression.default else [])])
        case ScalarQuery(query):
            bounds = magnitude(query.outputs[0].expression)
        case Aggregate():
            bounds = _of_aggregate(expression)
        case Function(name, arguments):
            bounds = _joined(arguments) if name in _SAME else _FUNCTIONS.get(name, any_number)
        case Separation() | RegionSize() | RegionDistance():
            bounds = _ANGLE
    return bounds


def _of_column(column: Column) -> Bounds:
    if column.kind == "integer":
        return _DATATYPES.get(column.field.datatype, _ANY_WHOLE) if column.is_stored else _ANY_WHOLE
    return _STORED if column.is_stored else _ANY


def _of_chain(chain: Arithmetic) -> Bounds:
    bounds = magnitude(chain.first)
    for operator, operand in chain.rest:
        bounds = combine(operator, bounds, magnitude(operand))
    return (0.0, min(bounds[1], 19.0)) if chain.kind == "integer" else bounds


def _of_aggregate(aggregate: Aggregate) -> Bounds:
    if aggregate.name == "COUNT" or aggregate.argument is None:
        return (0.0, _MANY)
    low, high = magnitude(aggregate.argument)
    if aggregate.name not in ("SUM", "AVG"):
        return low, high
    return (0.0, 19.0) if aggregate.kind == "integer" else (low - _DIGITS - _MANY, high + _MANY)


def _joined(expressions: Sequence[Expression]) -> Bounds:
    every = [magnitude(expression) for expression in expressions]
    return min(low for low, _ in every), max(high for _, high in every)


def combine(operator: Operator, left: Bounds, right: Bounds) -> Bounds:
    """The bounds of one step of arithmetic."""
    if operator == "*":
        return left[0] + right[0], left[1] + right[1]
    if operator == "/":
        return left[0] - right[1], left[1] - right[0]
    return min(left[0], right[0]) - _DIGITS, max(left[1], right[1]) + 0.31


def stays_in_range(operator: Operator, left: Bounds, right: Bounds) -> bool:
    """Whether a step with doubles can neither overflow nor vanish."""
    low, high = combine(operator, left, right)
    return high < 308.0 and (operator in "+-" or low > -307.0)

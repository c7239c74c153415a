"""Constant expressions worked out when the query is compiled, once for both engines."""

from __future__ import annotations

import math

from app.adql.kinds import ValueKind
from app.adql.sqlite_functions import MATHEMATICS
from app.adql.tree import Operator
from app.adql.typed import Arithmetic, Expression, Function, Literal, Negative

_MAX_INTEGER = 2**63 - 1

Number = int | float


def fold(expression: Expression) -> Expression:
    """The literal that a numeric expression over literals is, or the expression itself."""
    match expression:
        case Negative(Literal(value, kind)) if not isinstance(value, str):
            return Literal(None if value is None else -value, kind)
        case Arithmetic(first, rest, kind):
            return _fold_chain(first, rest, kind) or expression
        case Function("COALESCE", _, "null"):
            return Literal(None, "null")
        case Function(name, arguments, "real"):
            return _fold_function(name, arguments) or expression
    return expression


def _fold_chain(
    first: Expression, rest: tuple[tuple[Operator, Expression], ...], kind: ValueKind
) -> Literal | None:
    operands = [first, *(value for _, value in rest)]
    numbers: list[Number] = []
    for operand in operands:
        if not isinstance(operand, Literal) or isinstance(operand.value, str):
            return None
        if operand.value is None:
            return Literal(None, kind)
        numbers.append(operand.value)
    total: Number | None = numbers[0]
    for (operator, _), number in zip(rest, numbers[1:], strict=True):
        total = None if total is None else apply(operator, total, number)
    return Literal(total, kind)


def apply(operator: Operator, a: Number, b: Number) -> Number | None:
    """One step of arithmetic as SQL does it: whole numbers divide to whole numbers, towards zero.

    None for a division by zero and for what neither engine can hold.
    """
    if operator == "/":
        if b == 0:
            return None
        if isinstance(a, int) and isinstance(b, int):
            quotient = abs(a) // abs(b)
            return quotient if (a < 0) == (b < 0) else -quotient
        return _bounded(a / b)
    value = a + b if operator == "+" else a - b if operator == "-" else a * b
    return _bounded(value)


def _bounded(value: Number) -> Number | None:
    if isinstance(value, int):
        return value if abs(value) <= _MAX_INTEGER else None
    return value if math.isfinite(value) else None


def _fold_function(name: str, arguments: tuple[Expression, ...]) -> Literal | None:
    function = MATHEMATICS.get((name, len(arguments)))
    values = [a.value for a in arguments if isinstance(a, Literal)]
    if function is None or len(values) < len(arguments) or any(isinstance(v, str) for v in values):
        return None
    return Literal(function(*values), "real")

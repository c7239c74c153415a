"""Chains of + - * / step by step; what leaves the range of a number is NULL.

Whole numbers divide to whole numbers, towards zero, and lie between -(2^63 - 1) and 2^63 - 1. A
chain works with whole numbers until the first double comes. Both dialects write the steps that are
planned here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from app.adql import typed
from app.adql.bounds import WHOLE_END, combine, magnitude, stays_in_range
from app.adql.tree import Operator
from app.adql.typed import Expression

SUM_SCALE: Final = 1e30
"""Doubles that may be so large that their sum overflows are summed in this unit."""

_LARGE: Final = 290.0


@dataclass(frozen=True, slots=True)
class Step:
    """One operator and its right operand. ``is_whole``: both sides are whole numbers;
    ``is_safe``: the result is in range whatever the operands are."""

    operator: Operator
    operand: Expression
    is_whole: bool
    is_safe: bool


def steps_of(chain: typed.Arithmetic) -> tuple[bool, list[Step]]:
    """Whether the first operand is a whole number, and the steps from there."""
    first_is_whole = whole = _is_whole(chain.first, chain)
    bounds = magnitude(chain.first)
    steps = []
    for operator, operand in chain.rest:
        whole = whole and _is_whole(operand, chain)
        theirs = magnitude(operand)
        if whole:
            combined = combine(operator, bounds, theirs)
            is_safe = operator == "/" or combined[1] < WHOLE_END
            bounds = (0.0, min(combined[1], 19.0)) if operator != "/" else (0.0, bounds[1])
        else:
            is_safe = stays_in_range(operator, bounds, theirs)
            bounds = combine(operator, bounds, theirs)
        steps.append(Step(operator, operand, whole, is_safe))
    return first_is_whole, steps


def may_overflow(argument: Expression) -> bool:
    """Whether a sum of such doubles may leave the range."""
    return magnitude(argument)[1] > _LARGE


def _is_whole(expression: Expression, chain: typed.Arithmetic) -> bool:
    return expression.kind == "integer" or (expression.kind == "null" and chain.kind == "integer")

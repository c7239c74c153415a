"""Comparisons that an index can serve: spatial relations and cones."""

from __future__ import annotations

from typing import Literal as Word
from typing import cast

from app.adql import typed

MIRRORED: dict[str, str] = {"=": "=", "<>": "<>", "<": ">", ">": "<", "<=": ">=", ">=": "<="}


def negated(condition: typed.Condition, is_negated: bool) -> typed.Condition:
    """The condition, or its negation."""
    return typed.Not(condition) if is_negated else condition


def spatial_test(a: typed.Expression, operator: str, b: typed.Expression) -> typed.Condition | None:
    """``CONTAINS(…) = 1`` and its like as a condition that an index can serve."""
    if not (isinstance(a, typed.Spatial) and isinstance(b, typed.Literal)):
        return None
    if operator not in ("=", "<>") or b.value not in (0, 1):
        return None
    return negated(typed.SpatialTest(a), (b.value == 1) != (operator == "="))


def cone(a: typed.Expression, operator: str, b: typed.Expression) -> typed.Condition | None:
    """``DISTANCE(…) < radius`` as a condition that an index can serve, or None."""
    if isinstance(a, typed.Separation | typed.RegionDistance) and operator in ("<", "<="):
        return typed.Cone(a, cast(Word["<", "<="], operator), b)
    return None


def between(
    operand: typed.Expression, low: typed.Expression, high: typed.Expression
) -> typed.Condition:
    """BETWEEN; of a distance, its upper end as a cone that an index can serve."""
    within = cone(operand, "<=", high)
    if within is None:
        return typed.Between(operand, low, high)
    return typed.Junction("AND", (typed.Comparison(">=", operand, low), within))

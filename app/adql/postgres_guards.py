"""PostgreSQL: steps of arithmetic that would raise an error, as NULL."""

from __future__ import annotations

from typing import Final

from app.adql.tree import Operator

_END = "9223372036854775808"
"""2^63, the first number beyond bigint."""

_MOST = "CAST(1.7976931348623157e308 AS double precision)"
_LOG_MOST = "709.782712893384"
_LOG_LEAST = "-744.4"
"""Natural logarithms of the greatest double and of what is rounded to zero."""

_PRODUCT = (
    "CASE WHEN {x} = 0 OR {y} = 0 THEN {x} * {y}"
    f" WHEN ln(abs({{x}})) + ln(abs({{y}})) > {_LOG_MOST} THEN NULL"
    f" WHEN ln(abs({{x}})) + ln(abs({{y}})) < {_LOG_LEAST} THEN 0 ELSE {{x}} * {{y}} END"
)
_QUOTIENT = (
    "CASE WHEN {y} = 0 THEN NULL WHEN {x} = 0 THEN 0 * {y}"
    f" WHEN ln(abs({{x}})) - ln(abs({{y}})) > {_LOG_MOST} THEN NULL"
    f" WHEN ln(abs({{x}})) - ln(abs({{y}})) < {_LOG_LEAST} THEN 0 ELSE {{x}} / {{y}} END"
)
_SUM = (
    f"CASE WHEN {{x}} > 0 AND {{y}} > {_MOST} - {{x}} THEN NULL"
    f" WHEN {{x}} < 0 AND {{y}} < - {_MOST} - {{x}} THEN NULL ELSE {{x}} + {{y}} END"
)
_DIFFERENCE = (
    f"CASE WHEN {{y}} < 0 AND {{x}} > {_MOST} + {{y}} THEN NULL"
    f" WHEN {{y}} > 0 AND {{x}} < {{y}} - {_MOST} THEN NULL ELSE {{x}} - {{y}} END"
)
_GUARDS: Final[dict[str, str]] = {"+": _SUM, "-": _DIFFERENCE, "*": _PRODUCT, "/": _QUOTIENT}


def guarded(operator: Operator, left: str, right: str, grouped: bool) -> str:
    """A step with doubles that is NULL beyond their range, and 0 where it would vanish.

    The operands are written once, in a subquery, unless they are ``grouped``: a subquery would
    take aggregates for its own.
    """
    guard = _GUARDS[operator]
    if grouped:
        return f"({guard.format(x=left, y=right)})"
    operands = f"SELECT {left} AS x, {right} AS y OFFSET 0"
    return f"(SELECT {guard.format(x='x', y='y')} FROM ({operands}) AS v)"


def in_range(numeric: str) -> str:
    """A whole number of any size, or NULL where it is none of bigint's."""
    value = f"GREATEST(LEAST({numeric}, {_END}), -{_END})"
    return f"NULLIF(NULLIF({value}, {_END}), -{_END})"

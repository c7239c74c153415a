"""Units of expressions, and IN_UNIT (ADQL 2.1, section 4.7).

Units are read as VOUnits 1.1; what catalogs write besides (``deg2``) is read as astropy's own form.
"""

from __future__ import annotations

import math
import warnings
from functools import lru_cache
from typing import Any, Final, cast

from app.adql.kinds import is_number
from app.adql.tree import Call, String
from app.adql.typed import (
    Aggregate,
    Arithmetic,
    Cast,
    Column,
    Expression,
    Function,
    InUnit,
    Literal,
    Negative,
    RegionDistance,
    RegionSize,
    Separation,
)
from app.adql.unit_products import product, raised
from app.adql.wording import describe_value
from app.errors import AdqlTypeError, quoted

_KEPT: Final = frozenset({"ABS", "CEILING", "FLOOR", "ROUND", "TRUNCATE"})
_ALIKE: Final = frozenset({"COALESCE", "MOD"})
_ANGLES: Final = frozenset({"ACOS", "ASIN", "ATAN", "ATAN2", "RADIANS"})
_AGGREGATES: Final = frozenset({"AVG", "MAX", "MIN", "SUM"})
_PLAIN_NUMBER: Final = ""
_MAX_OPERANDS: Final = 20
"""Longer sums and products are left without a unit."""

_MAX_UNIT: Final = 80
"""Characters of a unit."""

Unit = Any
"""A unit of astropy."""


def unit_of(expression: Expression) -> str | None:
    """The unit in which the values are, where it is sure; None otherwise."""
    unit = _unit(expression)
    return unit or None


def converted_from(expression: Cast | InUnit) -> Expression:
    """What stood there before its type or unit was changed."""
    if isinstance(expression, Cast):
        return expression.operand
    inner = expression.converted
    return inner.first if isinstance(inner, Arithmetic) else inner


def _unit(expression: Expression) -> str | None:
    """As :func:`unit_of`; "" for a pure number, which takes on the unit of what it is added to."""
    unit: str | None = "deg" if expression.kind in ("point", "region") else None
    match expression:
        case Column(field=field):
            unit = field.unit
        case InUnit(unit=written):
            unit = written
        case Literal() if is_number(expression.kind):
            unit = _PLAIN_NUMBER
        case Negative(operand):
            unit = _unit(operand)
        case Cast(operand) if is_number(expression.kind):
            unit = _unit(operand)
        case Aggregate(name, _, argument) if name in _AGGREGATES and argument is not None:
            unit = _unit(argument)
        case Separation() | RegionDistance():
            unit = "deg"
        case RegionSize():
            unit = "deg2"
        case Arithmetic():
            unit = _unit_of_chain(expression)
        case Function():
            unit = _unit_of_function(expression)
    return unit


def _unit_of_chain(chain: Arithmetic) -> str | None:
    if len(chain.rest) > _MAX_OPERANDS:
        return None
    total = _unit(chain.first)
    for operator, operand in chain.rest:
        unit = _unit(operand)
        if total is None or unit is None:
            return None
        total = _sum(total, unit) if operator in "+-" else _combined(operator, total, unit)
    return total


def _sum(a: str, b: str) -> str | None:
    if _PLAIN_NUMBER in (a, b):
        return a or b
    return a if a == b else None


def _combined(operator: str, a: str, b: str) -> str | None:
    return product(a, b, 1 if operator == "*" else -1)


def _unit_of_function(function: Function) -> str | None:
    name, arguments = function.name, function.arguments
    if name in _ANGLES:
        return "rad"
    if name == "DEGREES":
        return "deg"
    if name in _KEPT:
        return _unit(arguments[0])
    if name in _ALIKE:
        units = {_unit(argument) for argument in arguments} - {_PLAIN_NUMBER}
        return units.pop() if len(units) == 1 else None
    if name in ("SQRT", "POWER"):
        return _power(arguments)
    return None


def _power(arguments: tuple[Expression, ...]) -> str | None:
    exponent: Expression = arguments[1] if len(arguments) == 2 else Literal(0.5, "real")
    base = _unit(arguments[0])
    if not base or not isinstance(exponent, Literal):
        return None
    value = exponent.value
    if not isinstance(value, int | float) or abs(value) > 10:
        return None
    return raised(base, value)


@lru_cache(maxsize=1024)
def read_unit(text: str) -> Unit | None:
    """The unit that a text means, None for what is none."""
    from astropy import units

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", units.UnitsWarning)
        for form in ("vounit", "generic"):
            try:
                return units.Unit(text, format=form)
            except (ValueError, TypeError):
                continue
    return None


def make_in_unit(call: Call, arguments: tuple[Expression, ...]) -> InUnit:
    """IN_UNIT(value, 'unit'): the value times a factor that is known when the query is compiled.

    AdqlTypeError, with its place, for a unit nobody knows, a value whose unit is not sure, and
    units that measure different things.
    """
    value, written = arguments[0], cast(String, call.arguments[1])
    if not is_number(value.kind):
        reason = f"IN_UNIT takes a number, not {describe_value(value)}"
        raise AdqlTypeError(reason, *call.arguments[0].at)
    named = written.value if len(written.value) <= _MAX_UNIT else ""
    target = read_unit(named) if named.strip() else None
    if target is None:
        raise AdqlTypeError(f"{quoted(written.value)} is no unit of VOUnits 1.1", *written.at)
    text = unit_of(value)
    if text is None:
        reason = "IN_UNIT does not know the unit of this value; convert the columns one by one"
        raise AdqlTypeError(reason, *call.arguments[0].at)
    factor = _factor(read_unit(text), target)
    if factor is None:
        reason = f"IN_UNIT cannot convert {text} to {written.value}"
        raise AdqlTypeError(reason, *written.at)
    return InUnit(Arithmetic(value, (("*", Literal(factor, "real")),), "real"), written.value)


def _factor(unit: Unit | None, target: Unit) -> float | None:
    if unit is None:
        return None
    from astropy import units

    try:
        factor = float(unit.to(target))
    except (units.UnitConversionError, ValueError, TypeError, OverflowError):
        return None
    return factor if math.isfinite(factor) and factor != 0.0 else None

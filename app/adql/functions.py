"""The kinds of the language's functions: what goes in, what comes out."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from app.adql.kinds import ValueKind, are_comparable, common_kind, is_number, is_text
from app.adql.tree import Call
from app.adql.typed import Expression, Function, Literal
from app.adql.units import make_in_unit
from app.adql.walk import has_random
from app.adql.wording import describe_value
from app.errors import AdqlTypeError, AdqlUnsupportedError

_NUMERIC: Final = frozenset(
    {
        *("ACOS", "ASIN", "ATAN", "ATAN2", "CEILING", "COS", "COT", "DEGREES", "EXP", "FLOOR"),
        *("LOG", "LOG10", "POWER", "RADIANS", "SIN", "SQRT", "TAN"),
    }
)
"""Numbers in, a double out."""

_PARTIAL: Final = frozenset({"ACOS", "ASIN", "EXP", "LOG", "LOG10", "POWER", "SQRT"})

_MAX_PLACES = 300


def make_function(call: Call, arguments: tuple[Expression, ...]) -> Expression:
    """The typed function; AdqlTypeError for arguments of the wrong kind."""
    special = _SPECIAL.get(call.name)
    if special is not None:
        return special(call, arguments)
    if call.name not in _NUMERIC:
        raise AdqlUnsupportedError(f"{call.name} is not offered by this service", *call.at)
    if call.name in _PARTIAL and any(map(has_random, arguments)):
        # Its argument is written twice, once to see whether it is in the domain.
        raise AdqlUnsupportedError(f"RAND() inside {call.name}", *call.at)
    return _numeric(call, arguments, "real")


def _pi(call: Call, arguments: tuple[Expression, ...]) -> Expression:
    return Literal(math.pi, "real")


def _fold_case(call: Call, arguments: tuple[Expression, ...]) -> Expression:
    return _require(call, arguments, is_text, "a string", "text")


def _absolute(call: Call, arguments: tuple[Expression, ...]) -> Expression:
    return _numeric(call, arguments, arguments[0].kind)


def _modulo(call: Call, arguments: tuple[Expression, ...]) -> Expression:
    whole = all(argument.kind == "integer" for argument in arguments)
    return _numeric(call, arguments, "integer" if whole else "real")


def _numeric(call: Call, arguments: tuple[Expression, ...], kind: ValueKind) -> Expression:
    return _require(call, arguments, is_number, "a number", kind)


def _rounded(call: Call, arguments: tuple[Expression, ...]) -> Expression:
    if len(arguments) == 2:
        _check_places(call, arguments[1])
    return _numeric(call, arguments, "real")


def _require(
    call: Call,
    arguments: tuple[Expression, ...],
    accepts: Callable[[ValueKind], bool],
    wanted: str,
    kind: ValueKind,
) -> Function:
    for position, argument in enumerate(arguments):
        if not accepts(argument.kind):
            reason = f"{call.name} takes {wanted}, not {describe_value(argument)}"
            raise AdqlTypeError(reason, *call.arguments[position].at)
    return Function(call.name, arguments, kind)


def _random(call: Call, arguments: tuple[Expression, ...]) -> Function:
    return Function("RAND", (), "real")


def _coalesce(call: Call, arguments: tuple[Expression, ...]) -> Function:
    for position, argument in enumerate(arguments[1:], 1):
        if not are_comparable(arguments[0].kind, argument.kind):
            reason = f"COALESCE of {describe_value(arguments[0])} and {describe_value(argument)}"
            raise AdqlTypeError(reason, *call.arguments[position].at)
    return Function("COALESCE", arguments, common_kind([a.kind for a in arguments]))


def _check_places(call: Call, places: Expression) -> None:
    value = places.value if isinstance(places, Literal) else None
    if not isinstance(value, int):
        raise AdqlTypeError(f"the places of {call.name} are a whole number", *call.at)
    if abs(value) > _MAX_PLACES:
        raise AdqlTypeError(f"{call.name} to {value} places; at most {_MAX_PLACES}", *call.at)


_SPECIAL: Final[dict[str, Callable[[Call, tuple[Expression, ...]], Expression]]] = {
    "ABS": _absolute,
    "COALESCE": _coalesce,
    "IN_UNIT": make_in_unit,
    "LOWER": _fold_case,
    "MOD": _modulo,
    "PI": _pi,
    "RAND": _random,
    "ROUND": _rounded,
    "TRUNCATE": _rounded,
    "UPPER": _fold_case,
}

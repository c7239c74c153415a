"""The kinds of the language's functions: what goes in, what comes out."""

from __future__ import annotations

import math

from app.adql.kinds import ValueKind, are_comparable, common_kind, describe, is_number, is_text
from app.adql.tree import Call
from app.adql.typed import Expression, Function, Literal
from app.errors import AdqlTypeError, AdqlUnsupportedError

_ANGLE_RATIO = "ACOS ASIN ATAN ATAN2 CEILING COS COT DEGREES EXP FLOOR LOG LOG10 POWER RADIANS"
_NUMERIC = frozenset([*_ANGLE_RATIO.split(), "ROUND", "SIN", "SQRT", "TAN", "TRUNCATE"])

_MAX_PLACES = 300


def make_function(call: Call, arguments: tuple[Expression, ...]) -> Expression:
    """The typed function; AdqlTypeError for arguments of the wrong kind."""
    name = call.name
    if name == "PI":
        return Literal(math.pi, "real")
    if name == "RAND":
        return _random(call, arguments)
    if name in ("LOWER", "UPPER"):
        return _require(call, arguments, is_text, "a string", "text")
    if name == "COALESCE":
        return _coalesce(call, arguments)
    if name == "ABS":
        kind = common_kind([a.kind for a in arguments])
        return _require(call, arguments, is_number, "a number", kind)
    if name == "MOD":
        whole = all(a.kind == "integer" for a in arguments)
        return _require(call, arguments, is_number, "a number", "integer" if whole else "real")
    if name in _NUMERIC:
        _check_places(call, arguments)
        return _require(call, arguments, is_number, "a number", "real")
    raise AdqlUnsupportedError(f"{name} is not offered by this service", *call.at)


def _require(
    call: Call,
    arguments: tuple[Expression, ...],
    accepts: object,
    wanted: str,
    kind: ValueKind,
) -> Function:
    for position, argument in enumerate(arguments):
        fits = is_text(argument.kind) if accepts is is_text else is_number(argument.kind)
        if not fits:
            reason = f"{call.name} takes {wanted}, not {describe(argument.kind)}"
            raise AdqlTypeError(reason, *call.arguments[position].at)
    return Function(call.name, arguments, kind)


def _random(call: Call, arguments: tuple[Expression, ...]) -> Function:
    if arguments:
        raise AdqlUnsupportedError("RAND with a seed; use RAND()", *call.at)
    return Function("RAND", (), "real")


def _coalesce(call: Call, arguments: tuple[Expression, ...]) -> Function:
    for position, argument in enumerate(arguments[1:], 1):
        if not are_comparable(arguments[0].kind, argument.kind):
            reason = f"COALESCE of {describe(arguments[0].kind)} and {describe(argument.kind)}"
            raise AdqlTypeError(reason, *call.arguments[position].at)
    return Function("COALESCE", arguments, common_kind([a.kind for a in arguments]))


def _check_places(call: Call, arguments: tuple[Expression, ...]) -> None:
    if call.name not in ("ROUND", "TRUNCATE") or len(arguments) == 1:
        return
    places = arguments[1]
    if not (isinstance(places, Literal) and isinstance(places.value, int)):
        raise AdqlTypeError(f"the places of {call.name} are a whole number", *call.at)
    if abs(places.value) > _MAX_PLACES:
        reason = f"{call.name} to {places.value} places; at most {_MAX_PLACES}"
        raise AdqlTypeError(reason, *call.at)

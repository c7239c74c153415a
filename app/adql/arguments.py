"""Holds the arguments of the language's functions to the grammar of ADQL 2.1.

The LALR grammar takes any list of values; this module says how many and of what form each function
wants, and takes the deprecated coordinate system out of the geometries.
"""

from __future__ import annotations

from typing import Final

from app.adql.degrees import degrees_hint
from app.adql.tree import (
    At,
    Call,
    Cast,
    ColumnRef,
    Null,
    Number,
    Signed,
    String,
    Value,
)
from app.adql.words import GEOMETRY, SHAPES
from app.errors import AdqlSyntaxError, quoted

_ONE_ARGUMENT = """
    ABS ACOS ASIN ATAN CEILING COS COT DEGREES EXP FLOOR LOG LOG10 LOWER RADIANS SIN SQRT TAN
    UPPER AREA CENTROID COORD1 COORD2 COORDSYS REGION
"""

_COUNTS: Final = {
    **dict.fromkeys(_ONE_ARGUMENT.split(), (1, 1)),
    **dict.fromkeys(("ATAN2", "MOD", "POWER", "IN_UNIT", "CONTAINS", "INTERSECTS"), (2, 2)),
    **dict.fromkeys(("ROUND", "TRUNCATE"), (1, 2)),
    "PI": (0, 0),
    "RAND": (0, 1),
    "COALESCE": (1, 10_000),
}
"""Least and greatest number of arguments."""

_FRAMES: Final = frozenset(
    {"", "ICRS", "FK4", "FK5", "GALACTIC", "GALACTIC_II", "ECLIPTIC", "UNKNOWNFRAME", "J2000"}
)


def make_call(name: str, arguments: tuple[Value, ...], at: At) -> Call:
    """The call, its arguments checked; AdqlSyntaxError if they do not fit."""
    if name in ("POINT", "CIRCLE", "BOX", "POLYGON"):
        return _shape(name, arguments, at)
    if name == "DISTANCE":
        _check_distance(arguments, at)
    else:
        _check_count(name, arguments, at)
        _check_forms(name, arguments, at)
    return Call(name, arguments, True, "", at)


def _check_count(name: str, arguments: tuple[Value, ...], at: At) -> None:
    least, most = _COUNTS[name]
    if least <= len(arguments) <= most:
        return
    wanted = f"{least}" if least == most else f"{least} or {most}"
    if most > 2:
        wanted = f"at least {least}"
    plural = "" if wanted == "1" else "s"
    raise AdqlSyntaxError(f"{name} takes {wanted} argument{plural}, not {len(arguments)}", *at)


def _check_forms(name: str, arguments: tuple[Value, ...], at: At) -> None:
    if name in ("AREA", "CENTROID", "COORDSYS", "CONTAINS", "INTERSECTS"):
        for argument in arguments:
            _require(is_geometry_form(argument), f"{name} takes geometries or columns", argument)
    elif name in ("COORD1", "COORD2"):
        _require(_is_point_form(arguments[0]), f"{name} takes a POINT or a column", arguments[0])
    elif name == "REGION":
        _require(isinstance(arguments[0], String), "REGION takes a string literal", arguments[0])
    elif name == "IN_UNIT":
        _require(isinstance(arguments[1], String), "IN_UNIT takes a unit in quotes", arguments[1])
    elif name == "RAND" and arguments:
        seed = arguments[0]
        whole = isinstance(seed, Number) and isinstance(seed.value, int)
        _require(whole, "the seed of RAND is a whole number", seed)
    elif name in ("ROUND", "TRUNCATE") and len(arguments) == 2:
        places = arguments[1]
        _require(is_whole_literal(places), f"the places of {name} are a whole number", places)
    if name not in GEOMETRY and name != "COALESCE":
        for argument in arguments:
            require_plain(argument, f"{name} takes no geometry")


def require_plain(value: Value, reason: str) -> None:
    """AdqlSyntaxError unless the value can be a number or a string."""
    _require(not (isinstance(value, Call) and value.name in SHAPES), reason, value)


def is_whole_literal(value: Value) -> bool:
    """``[sign] digits``."""
    inner = value.operand if isinstance(value, Signed) else value
    return isinstance(inner, Number) and isinstance(inner.value, int)


def is_geometry_form(value: Value) -> bool:
    """Whether a geometry may be written like this."""
    if isinstance(value, Call):
        return not value.reserved or value.name in SHAPES or value.name == "COALESCE"
    return isinstance(value, ColumnRef | Cast | Null)


def _is_point_form(value: Value) -> bool:
    if isinstance(value, Call):
        return not value.reserved or value.name in ("POINT", "CENTROID")
    return isinstance(value, ColumnRef)


def _require(holds: bool, reason: str, value: Value) -> None:
    if not holds:
        raise AdqlSyntaxError(reason, *value.at)


def _shape(name: str, arguments: tuple[Value, ...], at: At) -> Call:
    frame, rest = _split_frame(name, arguments)
    points = name != "POINT" and bool(rest) and _starts_with_points(name, rest)
    sizes = {"POINT": (2, 2), "CIRCLE": (3, 2), "BOX": (4, 3)}
    if name == "POLYGON":
        fits = len(rest) >= 3 if points else len(rest) >= 6 and len(rest) % 2 == 0
        wanted = "at least 3 points, or 3 pairs of coordinates"
    else:
        fits = len(rest) == sizes[name][points]
        wanted = {"POINT": "lon, lat", "CIRCLE": "lon, lat, radius or point, radius"}.get(
            name, "lon, lat, width, height or point, width, height"
        )
    if not fits:
        raise AdqlSyntaxError(f"{name} takes {wanted}", *at)
    shown = rest if points and name == "POLYGON" else rest[1:] if points else rest
    if not (points and name == "POLYGON"):
        for value in shown:
            require_plain(value, f"this argument of {name} is a number")
    return Call(name, rest, True, frame, at)


def _starts_with_points(name: str, rest: tuple[Value, ...]) -> bool:
    if name != "POLYGON":
        return len(rest) == (2 if name == "CIRCLE" else 3) and _is_point_form(rest[0])
    if not all(_is_point_form(value) for value in rest):
        return False
    explicit = any(isinstance(v, Call) and v.name in SHAPES for v in rest)
    return explicit or len(rest) < 6 or len(rest) % 2 == 1


def _split_frame(name: str, arguments: tuple[Value, ...]) -> tuple[str, tuple[Value, ...]]:
    if not arguments or not isinstance(arguments[0], String | Null):
        return "", arguments
    first = arguments[0]
    if isinstance(first, Null):
        # NULL may be the coordinate system or a coordinate: the count of arguments decides.
        even = {"POINT": 3, "CIRCLE": 4, "BOX": 5}.get(name)
        dropped = len(arguments) == even if even else len(arguments) % 2 == 1
        return ("", arguments[1:]) if dropped else ("", arguments)
    words = first.value.upper().split()
    frame = words[0] if words else ""
    if frame not in _FRAMES:
        reason = f"{quoted(first.value)} is no coordinate system of ADQL{degrees_hint(first.value)}"
        raise AdqlSyntaxError(reason, *first.at)
    return frame, arguments[1:]


def _check_distance(arguments: tuple[Value, ...], at: At) -> None:
    if len(arguments) == 2:
        for value in arguments:
            _require(is_geometry_form(value), "DISTANCE takes two points", value)
    elif len(arguments) == 4:
        for value in arguments:
            require_plain(value, "DISTANCE takes two points or four coordinates")
    else:
        raise AdqlSyntaxError("DISTANCE takes two points or four coordinates", *at)

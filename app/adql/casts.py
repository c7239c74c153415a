"""CAST: which kinds convert to which, the SQL of it, and what the column of the answer is.

Both engines have functions of one name for what their own CAST would answer differently
(:mod:`app.adql.sqlite_more_functions`), so the SQL here serves either.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from app.adql import tree
from app.adql.kinds import ValueKind
from app.adql.typed import Cast, Constant, Expression, Geometry, Literal
from app.adql.wording import describe_value
from app.errors import AdqlTypeError, AdqlUnsupportedError, RegionError, quoted
from app.schema.fields import Datatype
from app.sky.numbers import parse_bound
from app.sky.shapes import Circle, Point, Polygon
from app.sky.stcs import check_direction, circle_from, simple_polygon_from

_WHOLE: Final = {"SMALLINT": 2**15 - 1, "INTEGER": 2**31 - 1, "BIGINT": 2**63 - 1}
"""The greatest number of each type."""

_DATATYPES: Final[dict[str, Datatype]] = {
    "SMALLINT": "short",
    "INTEGER": "int",
    "BIGINT": "long",
    "REAL": "float",
    "DOUBLE": "double",
}

_KINDS: Final[dict[str, ValueKind]] = {
    **dict.fromkeys(_WHOLE, "integer"),
    "REAL": "real",
    "DOUBLE": "real",
    "CHAR": "text",
    "VARCHAR": "text",
    "TIMESTAMP": "timestamp",
}

_SHAPES: Final[dict[str, type]] = {"POINT": Point, "CIRCLE": Circle, "POLYGON": Polygon}

_MAX_LENGTHS: Final = {"CHAR": 4_000, "VARCHAR": 1_000_000}
"""Characters of a text; those of CHAR are all there in each value."""


def make_cast(value: tree.Cast, operand: Expression) -> Expression:
    """The typed conversion; AdqlTypeError for kinds that never convert."""
    if value.target in _SHAPES:
        return _to_shape(value, operand)
    if operand.kind not in _sources(value.target):
        reason = f"CAST of {describe_value(operand)} to {_shown(value.target)} is not possible"
        raise AdqlTypeError(reason, *value.at)
    length = value.length
    if length is not None and not 1 <= length <= _MAX_LENGTHS[value.target]:
        most = _MAX_LENGTHS[value.target]
        reason = f"the length of {value.target} is a number from 1 to {most}, not {length}"
        raise AdqlTypeError(reason, *value.at)
    if value.target == "CHAR" and length is None:
        length = 1  # SQL-92, section 6.1
    return Cast(operand, value.target, length, _KINDS[value.target])


def _shown(target: str) -> str:
    return "DOUBLE PRECISION" if target == "DOUBLE" else target


def _sources(target: str) -> frozenset[ValueKind]:
    numbers: frozenset[ValueKind] = frozenset({"integer", "real", "text", "null"})
    if target in _WHOLE:
        return numbers | {"boolean"}
    if target in ("REAL", "DOUBLE"):
        return numbers
    if target == "TIMESTAMP":
        return frozenset({"text", "timestamp", "null"})
    return numbers | {"boolean", "timestamp", "point", "region"}


def cast_sql(cast: Cast, sql: str) -> str:
    """SQL of the conversion; ``sql`` is that of the operand, whole numbers as the engine's own."""
    kind = cast.operand.kind
    if cast.target in _WHOLE:
        greatest = _WHOLE[cast.target]
        least = -greatest - (cast.target != "BIGINT")  # -2**63 is no literal of SQL
        return f"adql_cast_whole({sql}, {least}, {greatest})"
    if cast.target in ("REAL", "DOUBLE"):
        double = {
            "integer": f"CAST({sql} AS double precision)",
            "real": sql,
        }.get(kind, f"adql_cast_double({sql})")
        return f"adql_cast_single({double})" if cast.target == "REAL" else double
    if cast.target == "TIMESTAMP":
        return f"adql_cast_timestamp({sql})"
    text = {
        "integer": f"CAST({sql} AS text)",
        "real": f"adql_real_text({sql})",
        "boolean": f"adql_boolean_text({sql})",
    }.get(kind, sql)
    if cast.length is None:
        return text
    if cast.target == "CHAR":  # cut, or padded with blanks (SQL-92, section 6.10)
        return f"rpad({text}, {cast.length:d})"
    return f"substr({text}, 1, {cast.length:d})"


def cast_form(cast: Cast) -> tuple[Datatype, str | None]:
    """Datatype and array size of a result column."""
    if cast.target in _DATATYPES:
        return _DATATYPES[cast.target], None
    if cast.length is None:
        return "char", "*"
    return "char", str(cast.length) if cast.target == "CHAR" else f"{cast.length}*"


def _to_shape(value: tree.Cast, operand: Expression) -> Geometry:
    wanted = _SHAPES[value.target]
    if isinstance(operand, Constant) and isinstance(operand.shape, wanted):
        return operand
    if not (isinstance(operand, Literal) and isinstance(operand.value, str)):
        reason = f"CAST to {value.target} of anything but a string literal in DALI form"
        raise AdqlUnsupportedError(reason, *value.at)
    try:
        return Constant(_READERS[value.target](operand.value))
    except RegionError as error:
        reason = f"{quoted(error.args[0])} is no {value.target} in DALI form: {error.args[1]}"
        raise AdqlTypeError(reason, *value.operand.at) from None


def _numbers(text: str) -> list[float]:
    try:
        return [parse_bound(word) for word in text.split()]
    except ValueError:
        raise RegionError(text, "it consists of numbers in degrees, separated by blanks") from None


def _point(text: str) -> Point:
    numbers = _numbers(text)
    if len(numbers) != 2:
        raise RegionError(text, "a point has two numbers")
    check_direction(text, numbers[0], numbers[1])
    return Point(numbers[0], numbers[1])


def _circle(text: str) -> Circle:
    return circle_from(text, _numbers(text))


_READERS: Final[dict[str, Callable[[str], Point | Circle | Polygon]]] = {
    "POINT": _point,
    "CIRCLE": _circle,
    "POLYGON": lambda text: simple_polygon_from(text, _numbers(text)),
}

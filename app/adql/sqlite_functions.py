"""What SQLite must be taught: the functions that compiled queries call.

Plain Python on numbers and text, NULL in gives NULL out, and whatever has no value (a logarithm
of zero, a root of minus one, an overflow) is NULL, as the PostgreSQL dialect writes it too.
Registered by the store; each is deterministic.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from decimal import ROUND_DOWN, ROUND_HALF_UP, Context, Decimal
from typing import Any, Final

from app.adql.sqlite_geometry import FUNCTIONS as GEOMETRIC
from app.sky.vectors import RADIANS_PER_DEGREE

_EXACT: Final = Context(prec=800)
_MAX_INTEGER: Final = 2**63 - 1
_TENTH_PLACE: Final = Decimal(1).scaleb(-10)

Number = int | float


def _total(function: Callable[..., float]) -> Callable[..., float | None]:
    """The function with NULL for NULL, for what lies outside its domain and for overflow."""

    def guarded(*arguments: Number | None) -> float | None:
        if None in arguments:
            return None
        try:
            value = function(*arguments)
        except (ValueError, OverflowError, ZeroDivisionError, ArithmeticError):
            return None
        return value if math.isfinite(value) else None

    return guarded


def _decimal(value: Number) -> Decimal:
    """A double by its 15 significant digits, as PostgreSQL makes a numeric of it."""
    return Decimal(f"{float(value):.15g}")


def _round(value: Number, places: int = 0) -> float:
    return float(_decimal(value).quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP, _EXACT))


def _truncate(value: Number, places: int = 0) -> float:
    return float(_decimal(value).quantize(Decimal(1).scaleb(-places), ROUND_DOWN, _EXACT))


def _modulo(value: Number, divisor: Number) -> float:
    return float(_EXACT.remainder(_decimal(value), _decimal(divisor)))


def _cotangent(angle_rad: float) -> float:
    return 1.0 / math.tan(angle_rad)


def _integer(value: Number | None) -> int | None:
    """An integer result, or NULL where SQLite fell back on a double because it overflowed."""
    return value if isinstance(value, int) and abs(value) <= _MAX_INTEGER else None


def _sum_of_list(numbers: str) -> int | None:
    """The sum of whole numbers in a JSON list, or NULL for none and for one out of range."""
    known = [number for number in json.loads(numbers) if number is not None]
    return sum(known) if known and abs(sum(known)) <= _MAX_INTEGER else None


def _degrees_text(*values: Number | None) -> str | None:
    """DALI text of a geometry's numbers."""
    if None in values:
        return None
    return " ".join(_degree_text(value) for value in values if value is not None)


def _degree_text(value: Number) -> str:
    rounded = _decimal(value).quantize(_TENTH_PLACE, ROUND_HALF_UP, _EXACT)
    text = f"{rounded:f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


Registered = tuple[str, int, Callable[..., Any]]

MATHEMATICS: Final[dict[tuple[str, int], Callable[..., float | None]]] = {
    ("ACOS", 1): _total(math.acos),
    ("ASIN", 1): _total(math.asin),
    ("ATAN", 1): _total(math.atan),
    ("ATAN2", 2): _total(math.atan2),
    ("CEILING", 1): _total(lambda x: float(math.ceil(x))),
    ("COS", 1): _total(math.cos),
    ("COT", 1): _total(_cotangent),
    ("DEGREES", 1): _total(lambda x: x / RADIANS_PER_DEGREE),
    ("EXP", 1): _total(math.exp),
    ("FLOOR", 1): _total(lambda x: float(math.floor(x))),
    ("LOG", 1): _total(math.log),
    ("LOG10", 1): _total(math.log10),
    ("MOD", 2): _total(_modulo),
    ("POWER", 2): _total(math.pow),
    ("RADIANS", 1): _total(lambda x: x * RADIANS_PER_DEGREE),
    ("ROUND", 1): _total(_round),
    ("ROUND", 2): _total(_round),
    ("SIN", 1): _total(math.sin),
    ("SQRT", 1): _total(math.sqrt),
    ("TAN", 1): _total(math.tan),
    ("TRUNCATE", 1): _total(_truncate),
    ("TRUNCATE", 2): _total(_truncate),
}
"""(ADQL name, number of arguments) -> function of doubles; constants are folded with these too."""


def mathematics_name(name: str) -> str:
    """The SQLite name of an ADQL function."""
    return f"adql_{name.lower()}"


FUNCTIONS: Final[tuple[Registered, ...]] = (
    *((mathematics_name(name), count, call) for (name, count), call in MATHEMATICS.items()),
    ("adql_integer", 1, _integer),
    ("adql_sum_of_list", 1, _sum_of_list),
    ("adql_degrees_text", -1, _degrees_text),
    *GEOMETRIC,
)
"""(name, number of arguments or -1, function)."""

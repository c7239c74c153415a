"""What SQLite must be taught: the functions that compiled queries call.

Plain Python on numbers and text, NULL in gives NULL out, and whatever has no value (a logarithm
of zero, a root of minus one, an overflow) is NULL, as the PostgreSQL dialect writes it too.
Registered by the store; each is deterministic.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import ROUND_DOWN, ROUND_HALF_UP, Context, Decimal
from functools import lru_cache
from typing import Any, Final

from app.errors import RegionError
from app.sky.areas import Area, prepare
from app.sky.predicates import (
    area_contains,
    area_deg2,
    areas_intersect,
    great_circle_deg,
)
from app.sky.shapes import Circle
from app.sky.stcs import parse_region
from app.sky.vectors import RADIANS_PER_DEGREE, unit_vector

MAX_RADIUS_DEG: Final = 90.0
"""Circles beyond a hemisphere have no form in pgSphere."""

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


def _degrees_text(*values: Number | None) -> str | None:
    """DALI text of a geometry's numbers."""
    if None in values:
        return None
    return " ".join(_degree_text(value) for value in values if value is not None)


def _degree_text(value: Number) -> str:
    rounded = _decimal(value).quantize(_TENTH_PLACE, ROUND_HALF_UP, _EXACT)
    text = f"{rounded:f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


@lru_cache(maxsize=16384)
def _region(text: str) -> Area | None:
    """The region an ``s_region`` text means, or None for what is no region."""
    try:
        return prepare(parse_region(text))
    except RegionError:
        return None


@lru_cache(maxsize=1024)
def _circle(lon_deg: float, lat_deg: float, radius_deg: float) -> Area | None:
    if not 0.0 <= radius_deg <= MAX_RADIUS_DEG:
        return None
    return prepare(Circle(lon_deg, lat_deg, radius_deg))


def _point_in_region(lon: Number | None, lat: Number | None, text: str | None) -> int | None:
    area = None if text is None else _region(text)
    if lon is None or lat is None or area is None:
        return None
    return int(area.contains(unit_vector(lon, lat)))


def _point_in_circle(
    lon: Number | None,
    lat: Number | None,
    centre_lon: Number | None,
    centre_lat: Number | None,
    radius: Number | None,
) -> int | None:
    circle = _circle_of(centre_lon, centre_lat, radius)
    if lon is None or lat is None or circle is None:
        return None
    return int(circle.contains(unit_vector(lon, lat)))


def _circle_of(lon: Number | None, lat: Number | None, radius: Number | None) -> Area | None:
    if lon is None or lat is None or radius is None:
        return None
    return _circle(lon, lat, radius)


def _circle_text(lon: Number | None, lat: Number | None, radius: Number | None) -> str | None:
    """STC-S text of a circle from numbers, to stand where a region's text may."""
    if lon is None or lat is None or radius is None or not 0.0 <= radius <= MAX_RADIUS_DEG:
        return None
    return f"CIRCLE ICRS {float(lon)!r} {float(lat)!r} {float(radius)!r}"


def _regions_overlap(first: str | None, second: str | None) -> int | None:
    a = None if first is None else _region(first)
    b = None if second is None else _region(second)
    return None if a is None or b is None else int(areas_intersect(a, b))


def _region_in_region(inner: str | None, outer: str | None) -> int | None:
    a = None if inner is None else _region(inner)
    b = None if outer is None else _region(outer)
    return None if a is None or b is None else int(area_contains(b, a))


def _region_size(text: str | None) -> float | None:
    try:
        return None if text is None else area_deg2(parse_region(text))
    except RegionError:
        return None


def _region_distance(lon: Number | None, lat: Number | None, text: str | None) -> float | None:
    area = None if text is None else _region(text)
    if lon is None or lat is None or area is None:
        return None
    v = unit_vector(lon, lat)
    return 0.0 if area.contains(v) else area.rim_distance(v) / RADIANS_PER_DEGREE


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
    ("adql_degrees_text", -1, _degrees_text),
    ("adql_distance", 4, _total(great_circle_deg)),
    ("adql_point_in_region", 3, _point_in_region),
    ("adql_point_in_circle", 5, _point_in_circle),
    ("adql_circle_text", 3, _circle_text),
    ("adql_regions_overlap", 2, _regions_overlap),
    ("adql_region_in_region", 2, _region_in_region),
    ("adql_region_distance", 3, _region_distance),
    ("adql_region_size", 1, _region_size),
)
"""(name, number of arguments or -1, function)."""

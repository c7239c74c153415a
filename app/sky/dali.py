"""Parameter and result text of DALI 1.1 and SIA 2.0: POS shapes, intervals, xtype values."""

from __future__ import annotations

import math

from app.errors import ParameterError, RegionError, quoted
from app.sky.numbers import parse_number
from app.sky.shapes import Circle, Point, Polygon, Range, Region, Shape
from app.sky.stcs import check_direction, circle_from, format_degrees, simple_polygon_from


def parse_pos(text: str) -> Region:
    """A POS value: ``CIRCLE lon lat radius``, ``RANGE lon1 lon2 lat1 lat2``, ``POLYGON lon lat …``.

    Degrees, ICRS, keywords in any case (SIA 2.0 section 2.1.1). RANGE may use ±Inf for an open
    side. Raises RegionError naming the fault.
    """
    words = text.split()
    keyword = words[0].upper() if words else ""
    if keyword not in ("CIRCLE", "RANGE", "POLYGON"):
        raise RegionError(text, "expected CIRCLE, RANGE or POLYGON followed by numbers in degrees")
    numbers = [_number(text, word) for word in words[1:]]
    if keyword == "RANGE":
        return _range(text, numbers)
    if not all(map(math.isfinite, numbers)):
        raise RegionError(text, f"{keyword} takes finite numbers only")
    return circle_from(text, numbers) if keyword == "CIRCLE" else simple_polygon_from(text, numbers)


def parse_interval(name: str, text: str) -> tuple[float, float]:
    """One number or ``lower upper`` (either may be ±Inf); both ends belong to the interval.

    Raises ParameterError naming the parameter.
    """
    words = text.split()
    if len(words) not in (1, 2):
        raise ParameterError(name, f"{quoted(text)}: expected one number or 'lower upper'")
    try:
        values = [parse_number(word) for word in words]
    except ValueError:
        raise ParameterError(name, f"{quoted(text)} is not a number or an interval") from None
    lower, upper = values[0], values[-1]
    if math.isnan(lower) or math.isnan(upper):
        raise ParameterError(name, f"{quoted(text)}: NaN is not a bound")
    if lower == upper and math.isinf(lower):
        raise ParameterError(name, f"{quoted(text)}: a single value must be finite")
    if lower > upper:
        raise ParameterError(name, f"{quoted(text)}: the lower bound is above the upper one")
    return lower, upper


def format_shape(shape: Shape) -> str:
    """DALI text of a value with xtype point, circle or polygon: numbers only, in degrees."""
    return " ".join(map(format_degrees, _coordinates(shape)))


def _coordinates(shape: Shape) -> tuple[float, ...]:
    if isinstance(shape, Point):
        return (shape.lon_deg, shape.lat_deg)
    if isinstance(shape, Circle):
        return (shape.lon_deg, shape.lat_deg, shape.radius_deg)
    if isinstance(shape, Polygon):
        return tuple(x for vertex in shape.vertices for x in vertex)
    return (shape.lon_min_deg, shape.lon_max_deg, shape.lat_min_deg, shape.lat_max_deg)


def _range(text: str, numbers: list[float]) -> Range:
    if len(numbers) != 4:
        raise RegionError(
            text, f"a range needs 4 numbers (lon1 lon2 lat1 lat2), not {len(numbers)}"
        )
    lon_min, lon_max = _open(numbers[0], 0.0, 360.0), _open(numbers[1], 0.0, 360.0)
    lat_min, lat_max = _open(numbers[2], -90.0, 90.0), _open(numbers[3], -90.0, 90.0)
    check_direction(text, lon_min, lat_min)
    check_direction(text, lon_max, lat_max)
    if lat_min > lat_max:
        raise RegionError(text, "the lower latitude is above the upper one")
    return Range(lon_min, lon_max, lat_min, lat_max)


def _open(value: float, least: float, most: float) -> float:
    return value if math.isfinite(value) else (least if value < 0 else most)


def _number(text: str, word: str) -> float:
    try:
        value = parse_number(word)
    except ValueError:
        raise RegionError(text, f"{quoted(word)} is not a number") from None
    if math.isnan(value):
        raise RegionError(text, "NaN is not a coordinate")
    return value

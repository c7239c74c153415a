"""SQL functions of geometries for SQLite, compiled.

Each has a namesake in :data:`app.adql.sqlite_geometry.FUNCTIONS`, written in Python, which serves
where compiled code cannot be had; both give the same answers. A geometry comes as the bytes of an
outline (:mod:`app.sky.outlines`) or as STC-S text; what is neither, and what is no geometry, gives
NULL.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numba import carray, cfunc, njit, types

from app.sky.kernel_measures import (
    bound,
    is_direction,
    is_simple,
    middle,
    put_box,
    put_direction,
    solid_angle,
    tidy_polygon,
)
from app.sky.kernel_ranges import meets_range
from app.sky.kernel_text import outline_of_text
from app.sky.kernels import contains, distance, holds, overlaps
from app.sky.vectors import RADIANS_PER_DEGREE
from app.stores.sqlite_native import native_sqlite

if native_sqlite() is None:
    raise ImportError("without SQLite's C interface there is nothing to compile for")

_value_type = types.ExternalFunction("sqlite3_value_type", types.int32(types.intp))
_value_double = types.ExternalFunction("sqlite3_value_double", types.float64(types.intp))
_value_bytes = types.ExternalFunction("sqlite3_value_bytes", types.int32(types.intp))
_value_blob = types.ExternalFunction("sqlite3_value_blob", types.voidptr(types.intp))
_value_text = types.ExternalFunction("sqlite3_value_text", types.voidptr(types.intp))
_result_null = types.ExternalFunction("sqlite3_result_null", types.void(types.intp))
_result_int = types.ExternalFunction("sqlite3_result_int", types.void(types.intp, types.int32))
_result_double = types.ExternalFunction(
    "sqlite3_result_double", types.void(types.intp, types.float64)
)
_result_blob = types.ExternalFunction(
    "sqlite3_result_blob", types.void(types.intp, types.intp, types.int32, types.intp)
)

_INTEGER, _FLOAT, _TEXT, _BLOB = 1, 2, 3, 4
_LEAST_POLYGON = 9
"""Numbers of the outline of a triangle."""
_COPIED = -1
"""SQLITE_TRANSIENT: the result is copied at once."""

_SIGNATURE = types.void(types.intp, types.int32, types.CPointer(types.intp))


@njit(cache=True, error_model="numpy")
def _number(value: int) -> float:
    """A number; NaN for whatever is none."""
    kind = _value_type(value)
    return _value_double(value) if kind in (_INTEGER, _FLOAT) else math.nan


@njit(cache=True, error_model="numpy")
def _geometry(value: int) -> Any:
    """The outline of a value; empty if it is none."""
    kind = _value_type(value)
    if kind == _BLOB:
        address = _value_blob(value)
        return carray(address, (_value_bytes(value) // 8,), types.float64)
    if kind == _TEXT:
        address = _value_text(value)
        length = _value_bytes(value)
        text = carray(address, (length,), types.uint8)
        out = np.empty(2 * length + 12)
        return out[: outline_of_text(text, 0, length, out)]
    return np.empty(0)


@njit(cache=True, error_model="numpy")
def _give_outline(context: int, out: Any, size: int) -> None:
    if size == 0:
        _result_null(context)
    else:
        _result_blob(context, out.ctypes.data, 8 * size, _COPIED)


@njit(cache=True, error_model="numpy")
def _give_finite(context: int, value: float) -> None:
    if math.isfinite(value):
        _result_double(context, value)
    else:
        _result_null(context)


@cfunc(_SIGNATURE, cache=True)
def adql_outline(context: int, count: int, values: Any) -> None:
    q = _geometry(carray(values, (count,))[0])
    _give_outline(context, q, q.size)


@cfunc(_SIGNATURE, cache=True)
def adql_point(context: int, count: int, values: Any) -> None:
    v = carray(values, (count,))
    lon, lat = _number(v[0]), _number(v[1])
    out = np.empty(3)
    put_direction(out, 0, lon, lat)
    _give_outline(context, out, 3 if is_direction(lon, lat) else 0)


@cfunc(_SIGNATURE, cache=True)
def adql_circle(context: int, count: int, values: Any) -> None:
    v = carray(values, (count,))
    lon, lat, radius = _number(v[0]), _number(v[1]), _number(v[2])
    out = np.empty(4)
    put_direction(out, 0, lon, lat)
    out[3] = radius * RADIANS_PER_DEGREE
    valid = is_direction(lon, lat) and 0.0 <= radius <= 180.0
    _give_outline(context, out, 4 if valid else 0)


@cfunc(_SIGNATURE, cache=True)
def adql_box(context: int, count: int, values: Any) -> None:
    v = carray(values, (count,))
    out = np.empty(12)
    boxed = put_box(out, _number(v[0]), _number(v[1]), _number(v[2]), _number(v[3]))
    _give_outline(context, out, tidy_polygon(out, 12) if boxed else 0)


@cfunc(_SIGNATURE, cache=True)
def adql_polygon(context: int, count: int, values: Any) -> None:
    v = carray(values, (count,))
    out = np.empty(3 * (count // 2))
    valid = True
    for k in range(count // 2):
        lon, lat = _number(v[2 * k]), _number(v[2 * k + 1])
        valid = valid and is_direction(lon, lat)
        put_direction(out, 3 * k, lon, lat)
    size = tidy_polygon(out, out.size) if valid else 0
    _give_outline(context, out, size if size and is_simple(out[:size]) else 0)


@cfunc(_SIGNATURE, cache=True)
def adql_contains_point(context: int, count: int, values: Any) -> None:
    v = carray(values, (count,))
    q = _geometry(v[0])
    lon, lat = _number(v[1]), _number(v[2])
    if q.size == 0 or not is_direction(lon, lat):
        _result_null(context)
        return
    p = np.empty(3)
    put_direction(p, 0, lon, lat)
    _result_int(context, contains(q, p[0], p[1], p[2]))


@cfunc(_SIGNATURE, cache=True)
def adql_contains(context: int, count: int, values: Any) -> None:
    v = carray(values, (count,))
    outer, inner = _geometry(v[0]), _geometry(v[1])
    if outer.size == 0 or inner.size == 0:
        _result_null(context)
    else:
        _result_int(context, holds(outer, inner))


@cfunc(_SIGNATURE, cache=True)
def adql_intersects(context: int, count: int, values: Any) -> None:
    v = carray(values, (count,))
    a, b = _geometry(v[0]), _geometry(v[1])
    if a.size == 0 or b.size == 0:
        _result_null(context)
    else:
        _result_int(context, overlaps(a, b))


@cfunc(_SIGNATURE, cache=True)
def adql_meets_range(context: int, count: int, values: Any) -> None:
    v = carray(values, (count,))
    q = _geometry(v[0])
    if q.size < _LEAST_POLYGON:
        _result_null(context)
        return
    met = meets_range(q, _number(v[1]), _number(v[2]), _number(v[3]), _number(v[4]))
    _result_int(context, met)


@cfunc(_SIGNATURE, cache=True)
def adql_box_side(context: int, count: int, values: Any) -> None:
    v = carray(values, (count,))
    q = _geometry(v[0])
    place = int(_number(v[1]))
    value = bound(q, place // 2, 1.0 if place % 2 else -1.0) if q.size else math.nan
    _give_finite(context, value)


@cfunc(_SIGNATURE, cache=True)
def adql_region_distance(context: int, count: int, values: Any) -> None:
    v = carray(values, (count,))
    q = _geometry(v[0])
    lon, lat = _number(v[1]), _number(v[2])
    if q.size == 0 or not is_direction(lon, lat):
        _result_null(context)
        return
    p = np.empty(3)
    put_direction(p, 0, lon, lat)
    _result_double(context, distance(q, p[0], p[1], p[2]) / RADIANS_PER_DEGREE)


@cfunc(_SIGNATURE, cache=True)
def adql_region_size(context: int, count: int, values: Any) -> None:
    q = _geometry(carray(values, (count,))[0])
    steradian = solid_angle(q) if q.size else math.nan
    _give_finite(context, steradian / (RADIANS_PER_DEGREE * RADIANS_PER_DEGREE))


@cfunc(_SIGNATURE, cache=True)
def adql_centroid(context: int, count: int, values: Any) -> None:
    v = carray(values, (count,))
    q = _geometry(v[0])
    if q.size == 0:
        _result_null(context)
        return
    x, y, z = middle(q)
    if _number(v[1]) > 0.5:
        _give_finite(context, math.atan2(z, math.sqrt(x * x + y * y)) / RADIANS_PER_DEGREE)
        return
    lon = math.atan2(y, x) / RADIANS_PER_DEGREE
    lon = lon + 360.0 if lon < 0.0 else lon
    _give_finite(context, 0.0 if lon >= 360.0 else lon)


@cfunc(_SIGNATURE, cache=True)
def adql_distance(context: int, count: int, values: Any) -> None:
    v = carray(values, (count,))
    phi1, phi2 = _number(v[1]) * RADIANS_PER_DEGREE, _number(v[3]) * RADIANS_PER_DEGREE
    delta = _number(v[2]) * RADIANS_PER_DEGREE - _number(v[0]) * RADIANS_PER_DEGREE
    sin1, cos1, sin2, cos2 = math.sin(phi1), math.cos(phi1), math.sin(phi2), math.cos(phi2)
    across = cos2 * math.sin(delta)
    along = cos1 * sin2 - sin1 * cos2 * math.cos(delta)
    cosine = sin1 * sin2 + cos1 * cos2 * math.cos(delta)
    if not (is_direction(delta, _number(v[1])) and is_direction(delta, _number(v[3]))):
        _result_null(context)
        return
    angle = math.atan2(math.sqrt(across * across + along * along), cosine)
    _give_finite(context, angle / RADIANS_PER_DEGREE)


_FUNCTIONS: Final[tuple[tuple[str, int, Any], ...]] = (
    ("adql_outline", 1, adql_outline),
    ("adql_point", 2, adql_point),
    ("adql_circle", 3, adql_circle),
    ("adql_box", 4, adql_box),
    ("adql_polygon", -1, adql_polygon),
    ("adql_contains_point", 3, adql_contains_point),
    ("adql_contains", 2, adql_contains),
    ("adql_intersects", 2, adql_intersects),
    ("adql_meets_range", 5, adql_meets_range),
    ("adql_box_side", 2, adql_box_side),
    ("adql_region_distance", 3, adql_region_distance),
    ("adql_region_size", 1, adql_region_size),
    ("adql_centroid", 2, adql_centroid),
    ("adql_distance", 4, adql_distance),
)
"""(name, number of arguments or -1, compiled function)."""


def compiled_functions() -> Iterator[tuple[str, int, int]]:
    """(name, number of arguments or -1, address of the machine code)."""
    for name, count, function in _FUNCTIONS:
        yield name, count, function.address

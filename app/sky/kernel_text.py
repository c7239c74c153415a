"""STC-S text to outlines, compiled (:func:`app.sky.stcs.parse_region`, at machine speed).

What Python would read as a number in some unusual spelling (``1_0``, other scripts' digits) is
not read here; nothing writes it.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from app.sky.kernel_measures import is_direction, put_box, put_direction, tidy_polygon
from app.sky.kernels import Outline
from app.sky.vectors import RADIANS_PER_DEGREE

Text = Any
"""Bytes as an array of uint8."""

_WORDS = (
    b"POLYGON CIRCLE BOX ICRS UNKNOWNFRAME BARYCENTER GEOCENTER HELIOCENTER LSR TOPOCENTER "
    b"UNKNOWNREFPOS SPHERICAL2 "
)
_LETTERS = np.frombuffer(_WORDS, dtype=np.uint8)
_POLYGON, _CIRCLE, _BOX = 0, 1, 2
_EXACT_POWERS = np.array([10.0**k for k in range(23)])
_LARGEST_MANTISSA = 2**53


@njit(cache=True, error_model="numpy")
def _is_space(code: int) -> bool:
    return code == 32 or 9 <= code <= 13 or code == 44


@njit(cache=True, error_model="numpy")
def _word_number(data: Text, start: int, end: int) -> int:
    """Place of a word in the list of known ones, whatever its case; -1 if it is not there."""
    number, at = 0, start
    fits = True
    for letter in _LETTERS:
        if letter == 32:
            if fits and at == end:
                return number
            number, at, fits = number + 1, start, True
            continue
        if not (fits and at < end):
            fits = False
            continue
        code = data[at]
        upper = code - 32 if 97 <= code <= 122 else code
        fits = upper == letter
        at += 1
    return -1


@njit(cache=True, error_model="numpy")
def _number(data: Text, start: int, end: int) -> float:
    """The double nearest to a decimal number; NaN for anything else.

    Up to 2^53 as the digits and 22 as the power of ten, one division or product of exact doubles
    is rightly rounded (Clinger 1990); longer ones lose at most the last bit.
    """
    at = start
    negative = at < end and data[at] == 45
    if at < end and (data[at] == 45 or data[at] == 43):
        at += 1
    mantissa, power, digits, point = 0.0, 0, 0, False
    while at < end:
        code = data[at]
        if 48 <= code <= 57:
            digits += 1
            if mantissa < _LARGEST_MANTISSA / 10 - 1:
                mantissa = mantissa * 10.0 + (code - 48)
                power -= point
            else:
                power += not point
        elif code == 46 and not point:
            point = True
        else:
            break
        at += 1
    if digits == 0:
        return math.nan
    if at < end:
        exponent = _exponent(data, at, end)
        if exponent > 999:
            return math.nan
        power += exponent
    value = _scaled(mantissa, power)
    return -value if negative else value


@njit(cache=True, error_model="numpy")
def _exponent(data: Text, at: int, end: int) -> int:
    """The number after an E; 1000 if that is not what stands there."""
    if data[at] != 101 and data[at] != 69:
        return 1000
    at += 1
    negative = at < end and data[at] == 45
    if at < end and (data[at] == 45 or data[at] == 43):
        at += 1
    if at == end:
        return 1000
    exponent = 0
    while at < end:
        code = data[at]
        if not 48 <= code <= 57:
            return 1000
        exponent = min(900, exponent * 10 + code - 48)
        at += 1
    return -exponent if negative else exponent


@njit(cache=True, error_model="numpy")
def _scaled(mantissa: float, power: int) -> float:
    if 0 <= power <= 22:
        return mantissa * _EXACT_POWERS[power]
    if -22 <= power < 0:
        return mantissa / _EXACT_POWERS[-power]
    return mantissa * 10.0**power


@njit(cache=True, error_model="numpy")
def outline_of_text(data: Text, start: int, end: int, out: Outline) -> int:
    """Write the outline of the text between two places; how many numbers, 0 for no region.

    ``out`` has room for 2 (end - start) + 12 numbers.
    """
    shape, numbers, at = -1, 0, start
    while at < end:
        while at < end and _is_space(data[at]):
            at += 1
        stop = at
        while stop < end and not _is_space(data[stop]):
            stop += 1
        if stop == at:
            break
        if numbers == 0 and not data[at] < 58:
            word = _word_number(data, at, stop)
            if word < 0 or (shape < 0) != (word <= _BOX):
                return 0
            shape = word if shape < 0 else shape
        else:
            value = _number(data, at, stop)
            if shape < 0 or not math.isfinite(value):
                return 0
            # Behind the place where vectors are written, which take three for two.
            out[out.size - 1 - numbers] = value
            numbers += 1
        at = stop
    return _outline_of_numbers(shape, numbers, out)


@njit(cache=True, error_model="numpy")
def _outline_of_numbers(shape: int, count: int, out: Outline) -> int:
    """The outline of the numbers that stand at the end of ``out``, in reversed order."""
    last = out.size - 1
    size = 0
    if shape == _POLYGON and count % 2 == 0:
        size = _polygon_of_numbers(count, out)
    elif count >= 3 and abs(out[last]) <= 360.0 and is_direction(out[last], out[last - 1]):
        lon, lat, third = out[last], out[last - 1], out[last - 2]
        if shape == _CIRCLE and count == 3 and 0.0 <= third <= 180.0:
            put_direction(out, 0, lon, lat)
            out[3] = third * RADIANS_PER_DEGREE
            size = 4
        elif shape == _BOX and count == 4 and put_box(out, lon, lat, third, out[last - 3]):
            size = tidy_polygon(out, 12)
    return size


@njit(cache=True, error_model="numpy")
def _polygon_of_numbers(count: int, out: Outline) -> int:
    last = out.size - 1
    for k in range(count // 2):
        lon, lat = out[last - 2 * k], out[last - 2 * k - 1]
        if not (abs(lon) <= 360.0 and abs(lat) <= 90.0):
            return 0
        put_direction(out, 3 * k, lon, lat)
    return tidy_polygon(out, 3 * (count // 2))

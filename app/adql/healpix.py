"""HEALPix cells, nested scheme (Górski et al. 2005, ApJ 622, 759, section 5.3 and 4.1)."""

from __future__ import annotations

import math
from typing import Final

from app.sky.vectors import RADIANS_PER_DEGREE

MAX_ORDER: Final = 29
_MAX_LONGITUDE: Final = 1e6
"""Degrees; beyond it the place within a turn is lost in rounding."""
_EQUATORIAL: Final = 2.0 / 3.0
"""Sine of the latitude where the equatorial belt ends and the polar caps begin."""

_SPREAD: Final = (
    (16, 0x0000FFFF0000FFFF),
    (8, 0x00FF00FF00FF00FF),
    (4, 0x0F0F0F0F0F0F0F0F),
    (2, 0x3333333333333333),
    (1, 0x5555555555555555),
)


def nested_index(order: int, lon_deg: float, lat_deg: float) -> int | None:
    """Number of the cell of ``12 * 4**order`` that holds a direction; None beyond the poles or
    after thousands of turns.

    ``order`` is 0 to :data:`MAX_ORDER`. The steps are those of ``adql_healpix`` on PostgreSQL,
    one by one, so that both engines put a direction on a border into the same cell.
    """
    if not (-90.0 <= lat_deg <= 90.0 and abs(lon_deg) <= _MAX_LONGITUDE):
        return None
    side = 1 << order
    lat_rad = lat_deg * RADIANS_PER_DEGREE
    z = math.sin(lat_rad)
    quarter = (lon_deg - 360.0 * math.floor(lon_deg / 360.0)) / 90.0
    if quarter >= 4.0:  # rounding, just below a full turn
        quarter = 0.0
    if abs(z) <= _EQUATORIAL:
        face, x, y = _equatorial_cell(order, side, quarter, z)
    else:
        reach = side * math.sqrt(3.0) * math.cos(lat_rad) / math.sqrt(1.0 + abs(z))
        face, x, y = _polar_cell(side, quarter, reach, z >= 0.0)
    return (face << (2 * order)) + _spread(x) + 2 * _spread(y)


def _equatorial_cell(order: int, side: int, quarter: float, z: float) -> tuple[int, int, int]:
    ascending, rise = side * (0.5 + quarter), side * (z * 0.75)
    down, up = math.floor(ascending - rise), math.floor(ascending + rise)
    face_down, face_up = down >> order, up >> order
    if face_down == face_up:
        face = face_down | 4
    else:
        face = face_down if face_down < face_up else face_up + 8
    return face, up & (side - 1), side - (down & (side - 1)) - 1


def _polar_cell(side: int, quarter: float, reach: float, is_north: bool) -> tuple[int, int, int]:
    sector = min(3, math.floor(quarter))
    offset = quarter - sector
    down = min(side - 1, math.floor(offset * reach))
    up = min(side - 1, math.floor((1.0 - offset) * reach))
    return (sector, side - up - 1, side - down - 1) if is_north else (sector + 8, down, up)


def _spread(value: int) -> int:
    """The bits of a number of 32 bits with a zero before each."""
    for shift, mask in _SPREAD:
        value = (value | value << shift) & mask
    return value

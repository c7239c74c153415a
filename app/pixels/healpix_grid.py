"""Pixel grids of HEALPix: a cell of some order, and the cells of a finer one in it as an image.

Rows and columns are those of HiPS tiles in FITS: columns go north-west (the odd bits of a nested
number) and rows south-west (its even bits, from the last to the first). All pixels of an order are
of one area.

A base cell is a square on a corner in the HPX projection (Calabretta & Roukema 2007), and so are
its pixels. Positions beyond its edges go on as its own formulas do, so that maps
between nodes on either side of an edge stay smooth.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from astropy.io.fits import Header
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_TURN: Final = 45.0
"""In the projection: from the centre of a base cell to its corners (deg)."""
_EQUATORIAL: Final = 67.5
"""Height in the projection (deg) per sine of the latitude, up to a sine of 2/3."""
_POLAR: Final = math.sqrt(6.0)


def cell_area_deg2(order: int) -> float:
    """Of each of the 12 x 4^order cells."""
    return 360.0**2 / math.pi / 12.0 / 4.0**order


def pixel_scale_arcsec(order: int, width: int) -> float:
    """Side of a square of the area of a pixel of tiles of an order, ``width`` pixels wide."""
    return 3600.0 * math.sqrt(cell_area_deg2(order)) / width


@dataclass(frozen=True, slots=True)
class HealpixGrid:
    """The nested cell ``number`` of ``order`` as ``width`` x ``width`` pixels (a power of two)."""

    order: int
    number: int
    width: int

    @property
    def shape(self) -> tuple[int, int]:
        """(ny, nx)."""
        return self.width, self.width

    @property
    def _base(self) -> tuple[float, float]:
        """Longitude and height in the projection (deg) of the centre of the base cell."""
        row, column = divmod(self.number >> (2 * self.order), 4)
        return 90.0 * column + (0.0 if row == 1 else _TURN), _TURN * (1 - row)

    @property
    def _corner(self) -> tuple[int, int]:
        """(even, odd): where the cell begins in its base cell, in cells."""
        inside = self.number & ((1 << (2 * self.order)) - 1)
        return _every_second_bit(inside), _every_second_bit(inside >> 1)

    def pixel_to_sky(self, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        """ICRS longitude in [0, 360) and latitude (deg) of 0-based pixel positions."""
        (even, odd), (centre, height), side = self._corner, self._base, 2.0**self.order
        u = (even + (self.width - 0.5 - y) / self.width) / side
        v = (odd + (x + 0.5) / self.width) / side
        across, up = _TURN * (u - v), height - _TURN + _TURN * (u + v)
        beyond = 2.0 - np.abs(up) / _TURN
        is_polar = beyond < 1.0
        with np.errstate(divide="ignore", invalid="ignore"):
            turned = np.where(beyond == 0.0, 0.0, across / beyond)
        lon = centre + np.where(is_polar, turned, across)
        colatitude = 2.0 * np.degrees(np.arcsin(np.clip(beyond / _POLAR, -1.0, 1.0)))
        flat = np.degrees(np.arcsin(np.clip(up / _EQUATORIAL, -1.0, 1.0)))
        lat = np.where(is_polar, np.copysign(90.0 - np.abs(colatitude), up), flat)
        return lon % 360.0, lat

    def sky_to_pixel(self, lon_deg: Floats, lat_deg: Floats) -> tuple[Floats, Floats]:
        """0-based pixel positions of ICRS positions."""
        (even, odd), (centre, height), side = self._corner, self._base, 2.0**self.order
        across = (lon_deg - centre + 180.0) % 360.0 - 180.0
        sine = np.sin(np.radians(lat_deg))
        is_polar = np.abs(sine) > 2.0 / 3.0
        beyond = _POLAR * np.sin(np.radians(90.0 - np.abs(lat_deg)) / 2.0)
        polar = np.copysign(_TURN * (2.0 - beyond), lat_deg)
        up = np.where(is_polar, polar, _EQUATORIAL * sine)
        across = np.where(is_polar, across * beyond, across)
        total = (up - height + _TURN) / _TURN
        u, v = 0.5 * (total + across / _TURN), 0.5 * (total - across / _TURN)
        y = self.width - 0.5 - (u * side - even) * self.width
        x = (v * side - odd) * self.width - 0.5
        return x, y

    def fits_header(self) -> Header:
        """The WCS: HPX, turned by 45 deg."""
        (even, odd), (centre, height), side = self._corner, self._base, 2.0**self.order
        aside = _TURN if height else 0.0
        total, across = 1.0 - height / _TURN, -aside / _TURN
        step = _TURN / (side * self.width)
        header = Header()
        header["CTYPE1"], header["CTYPE2"] = "RA---HPX", "DEC--HPX"
        header["CRPIX1"] = (0.5 * (total - across) * side - odd) * self.width + 0.5
        up = (0.5 * (total + across) * side - even) * self.width
        header["CRPIX2"] = self.width + 0.5 - up
        header["CD1_1"], header["CD1_2"] = -step, -step
        header["CD2_1"], header["CD2_2"] = step, -step
        header["CRVAL1"], header["CRVAL2"] = (centre - aside) % 360.0, 0.0
        header["CUNIT1"], header["CUNIT2"] = "deg", "deg"
        header["RADESYS"] = "ICRS"
        return header


def _every_second_bit(bits: int) -> int:
    """The bits 0, 2, 4 … of a number, closed up."""
    value, place = 0, 0
    while bits:
        value |= (bits & 1) << place
        bits >>= 2
        place += 1
    return value

"""Positions as people type them."""

from __future__ import annotations

import re

from astropy import units
from astropy.coordinates import SkyCoord

from app.errors import ParameterError, quoted, shortened
from app.recipes.request import parse_target
from app.sky.predicates import centroid
from app.sky.shapes import Point, Shape

_NO_NUMBER = re.compile(r"_|(?![0-9])\d")
"""What Python's numbers may hold besides ASCII digits."""
_SEXAGESIMAL = re.compile(r"\d\s*[hd:]|\d+\s+\d+\s+[\d.]+\s+[-+]", re.IGNORECASE)


def parse_position(text: str) -> Point:
    """The direction, or the centre of the shape, that :func:`parse_place` reads."""
    place = parse_place(text)
    return place if isinstance(place, Point) else centroid(place)


def parse_place(text: str) -> Shape:
    """A direction or a region: ``lon lat`` in degrees, a DALI shape, or hours and degrees
    (``04:08:00 -37:05:00``, ``4h8m -37d5m``). Raises ParameterError naming POS."""
    if _SEXAGESIMAL.search(text) is None:
        return parse_target(text)
    try:
        if _NO_NUMBER.search(text):
            raise ValueError("digits are 0 to 9")
        words = text.replace(",", " ").strip()
        found = SkyCoord(words, unit=(units.hourangle, units.deg), frame="icrs")
        return Point(float(found.ra.deg), float(found.dec.deg))
    except (ValueError, TypeError) as fault:
        raise ParameterError(
            "POS", f"{quoted(text.strip())} is not a position: {shortened(fault)}"
        ) from None


def format_position(point: Point) -> str:
    """``lon lat`` in degrees, to 0.4 mas."""
    return (
        f"{point.lon_deg:.7f}".rstrip("0").rstrip(".")
        + " "
        + (f"{point.lat_deg:.7f}".rstrip("0").rstrip("."))
    )

"""Bright objects from the text of a DS9 region file, as Rubin's bright object masks are kept.

Of the format (https://ds9.si.edu/doc/ref/region.html) what those files have: ``circle`` and
``box``, in FK5 or ICRS.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Final

from app.errors import LimitError, ParameterError, quoted
from app.pixels.bright_shapes import Box, BrightObject, Disc
from app.sky.frames import find_icrs
from app.sky.numbers import parse_finite

PARAMETER: Final = "BRIGHT_REGIONS"
MAX_OBJECTS: Final = 10_000
LARGEST_DEG: Final = 2.0
"""No object reaches farther from its middle than this."""
FRAMES: Final = {"fk5": "FK5", "j2000": "J2000", "icrs": "ICRS"}
_SHAPES: Final = {"circle": (3,), "box": (4, 5)}
_FORMS: Final = "circle(ra, dec, radius) or box(ra, dec, width, height, angle)"
_SHAPE: Final = re.compile(r"\+?\s*(\w+)\s*\(([^()]*)\)\s*\Z")
_SIZE: Final = re.compile(r"([^d'\"]+)(d|'|\")?\Z")
_DEGREES: Final = {None: 1.0, "d": 1.0, "'": 1 / 60, '"': 1 / 3600}


def parse_bright_regions(_name: str, text: str) -> tuple[BrightObject, ...]:
    """The objects in the text of a region file.

    Comments and ``global`` lines are passed over. Sizes are in degrees (``d``), arcmin (``'``) or
    arcsec (``"``); positions in degrees, or ``hh:mm:ss`` and ``dd:mm:ss``. Raises ParameterError
    naming the line, LimitError when there are too many.
    """
    frame: str | None = None
    found: list[BrightObject] = []
    for number, word in _words(text):
        if word.lower() in FRAMES:
            frame = FRAMES[word.lower()]
        elif word.lower() != "wcs" and not word.lower().startswith("global"):
            found.append(_object(number, word, frame))
    if len(found) > MAX_OBJECTS:
        raise LimitError(f"objects in {PARAMETER}", len(found), MAX_OBJECTS)
    return tuple(found)


def _words(text: str) -> Iterator[tuple[int, str]]:
    """Commands with the numbers of their lines, counted from 1."""
    for number, line in enumerate(text.splitlines(), start=1):
        for part in line.partition("#")[0].split(";"):
            if part.strip():
                yield number, part.strip()


def _object(number: int, word: str, frame: str | None) -> BrightObject:
    read = _SHAPE.match(word)
    shape = read[1].lower() if read else ""
    numbers = re.split(r"[\s,]+", read[2].strip()) if read else []
    if len(numbers) not in _SHAPES.get(shape, ()):
        raise _fault(number, f"{quoted(word)} is not {_FORMS}, nor one of {', '.join(FRAMES)}")
    if frame is None:
        raise _fault(number, f"say the frame before the first shape: {', '.join(FRAMES)}")
    lon, lat = (_coordinate(number, given, n) for n, given in enumerate(numbers[:2]))
    icrs = find_icrs(frame, lon, lat)
    if icrs is None or not (0.0 <= lon <= 360.0 and abs(lat) <= 90.0):
        raise _fault(number, f"{lon:g} {lat:g} is no direction (0 to 360, -90 to 90 deg)")
    sizes = [_size(number, given) for given in numbers[2 : 3 if shape == "circle" else 4]]
    if shape == "circle":
        made: BrightObject = Disc(*icrs, *sizes)
    else:
        angle = _number(number, numbers[4].removesuffix("d")) if len(numbers) == 5 else 0.0
        made = Box(*icrs, sizes[0], sizes[1], angle)
    if made.reach_deg > LARGEST_DEG:
        raise _fault(number, f"{quoted(word)} is larger than {LARGEST_DEG:g} deg")
    return made


def _coordinate(number: int, given: str, axis: int) -> float:
    """Degrees; ``:`` separates hours or degrees, minutes and seconds."""
    parts = given.removesuffix("d").split(":")
    if len(parts) == 1:
        return _number(number, parts[0])
    values = [_number(number, part) for part in parts]
    if len(parts) > 3 or any(not 0 <= value < 60 for value in values[1:]):
        raise _fault(number, f"{quoted(given)} is not hh:mm:ss or dd:mm:ss")
    size = sum(abs(value) / 60**n for n, value in enumerate(values))
    return math.copysign(size, -1.0 if given.startswith("-") else 1.0) * (
        15.0 if axis == 0 else 1.0
    )


def _size(number: int, given: str) -> float:
    read = _SIZE.match(given)
    value = _number(number, read[1]) * _DEGREES[read[2]] if read else 0.0
    if value <= 0:
        raise _fault(number, f"{quoted(given)} is no size above 0 (deg, or with d, ' or \")")
    return value


def _number(number: int, given: str) -> float:
    try:
        return parse_finite(given)
    except ValueError:
        raise _fault(number, f"{quoted(given)} is no number") from None


def _fault(number: int, reason: str) -> ParameterError:
    return ParameterError(PARAMETER, f"line {number}: {reason}")

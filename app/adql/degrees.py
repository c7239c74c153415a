"""Coordinates that were written as text: what they are in degrees."""

from __future__ import annotations

import re
from typing import Final

_SEXAGESIMAL: Final = re.compile(
    r"""\s*([+-]?)(\d{1,3})\s*(?:[:hd°]|\s)\s*(\d{1,2})
    (?:\s*(?:[:m'′]|\s)\s*(\d{1,2}(?:\.\d*)?))?\s*[s"″]?\s*\Z""",
    re.VERBOSE | re.IGNORECASE | re.ASCII,
)
_NUMBER: Final = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)\s*\Z", re.ASCII)


def degrees_hint(text: str) -> str:
    """How coordinates are written, after a text that looks like one; empty for any other."""
    if _NUMBER.match(text):
        return f"; coordinates are degrees without quotes: {text.strip()}"
    found = _SEXAGESIMAL.match(text)
    if found is None:
        return ""
    sign, whole, minutes, seconds = found.groups()
    degrees = int(whole) + int(minutes) / 60 + float(seconds or 0) / 3600
    degrees = -degrees if sign == "-" else degrees
    hours = f", or {degrees * 15:.10g} if these are hours" if 0 <= degrees < 24 else ""
    return f"; coordinates are numbers in degrees: {degrees:.10g}{hours}"

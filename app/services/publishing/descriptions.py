"""What files say of their columns: descriptions and units.

astropy's units take a third of a second to import; few files of rows need them.
"""

from __future__ import annotations

import re
from typing import Any


def unit_text(unit: Any) -> str | None:
    """VOUnit text where astropy knows the unit, else what the file says."""
    if unit is None or str(unit).strip() == "":
        return None
    from astropy import units

    try:
        known = units.Unit(unit, parse_strict="silent")
        if isinstance(known, units.UnrecognizedUnit):
            return str(unit)
        return known.to_string("vounit") or None
    except (ValueError, TypeError):
        return str(unit)


def is_unit(text: str) -> bool:
    """Whether astropy knows the unit."""
    from astropy import units

    try:
        units.Unit(text.strip(), parse_strict="raise")
    except (ValueError, TypeError):
        return False
    return True


def words(text: Any) -> str:
    """A description on one line."""
    return re.sub(r"\s+", " ", str(text)).strip() if text else ""

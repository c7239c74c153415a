"""Instants written as text (DALI 1.1, section 3.3.3), read the same way as on PostgreSQL
(``adql_cast_timestamp`` and ``adql_mjd`` in ``migrations/sql``)."""

from __future__ import annotations

import re
from datetime import date
from functools import lru_cache
from typing import Final

_FORM: Final = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})"
    r"(?:[T ]([0-9]{2}):([0-9]{2})(?::([0-9]{2})(\.[0-9]{1,12})?)?)?Z?"
)
_MJD_ZERO: Final = date(1858, 11, 17).toordinal()
MJD_TO_JD: Final = 2400000.5


@lru_cache(maxsize=4096)
def _read(text: str) -> tuple[date, int, str] | None:
    """Day, whole seconds of it and the decimals of the second; None for what is no instant."""
    found = _FORM.fullmatch(text.strip(" "))
    if found is None:
        return None
    year, month, day, hour, minute, second = (int(part or 0) for part in found.groups()[:6])
    if hour > 23 or minute > 59 or second > 59:
        return None
    try:
        return date(year, month, day), (hour * 60 + minute) * 60 + second, found.group(7) or ""
    except ValueError:
        return None


def to_timestamp(text: str) -> str | None:
    """``YYYY-MM-DDThh:mm:ss.sss``, as the store writes instants; None for what is no instant.

    Decimals beyond the third are cut off.
    """
    read = _read(text)
    if read is None:
        return None
    day, seconds, decimals = read
    minutes, second = divmod(seconds, 60)
    hour, minute = divmod(minutes, 60)
    milliseconds = decimals[1:4].ljust(3, "0")
    return f"{day.isoformat()}T{hour:02d}:{minute:02d}:{second:02d}.{milliseconds}"


def to_mjd(text: str) -> float | None:
    """Modified Julian date (d) in the scale of the text; None for what is no instant."""
    read = _read(text)
    if read is None:
        return None
    day, seconds, decimals = read
    return (day.toordinal() - _MJD_ZERO) + (seconds + float(f"0{decimals}")) / 86400.0


def to_key(text: str) -> str | None:
    """``YYYY-MM-DDThh:mm:ss`` with the decimals that matter; None for what is no instant."""
    read = _read(text)
    timestamp = to_timestamp(text)
    if read is None or timestamp is None:
        return None
    decimals = read[2].rstrip("0").rstrip(".")
    return f"{timestamp[:19]}{decimals}"

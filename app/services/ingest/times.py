"""Dates as headers write them, as Modified Julian Days (UTC)."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

_MJD_ZERO = datetime(1858, 11, 17, tzinfo=UTC)
_JD_OF_MJD_ZERO = 2400000.5
_OLD_DATE = re.compile(r"^(\d{2})/(\d{2})/(\d{2})$")
_DAY = re.compile(r"^\d{4}[-/]?\d{2}[-/]?\d{2}$")

SCALES = ("utc", "tai", "tt", "tdb", "gps")


@dataclass(frozen=True, slots=True)
class Instant:
    """A moment, or a whole day when the header gives no more."""

    mjd: float
    day_only: bool = False


def parse_instant(value: object, style: str) -> Instant | None:
    """Read a date: ``style`` is mjd, jd, auto or a strptime format. None when it is not one.

    ``auto`` takes numbers as MJD (or JD above 2400000) and texts as ISO 8601 or as the FITS dates
    before 1999, DD/MM/YY.
    """
    text = str(value).strip()
    if style == "auto" and not (isinstance(value, str) and _DAY.match(text)) and _is_number(value):
        style = "jd" if float(text) > _JD_OF_MJD_ZERO else "mjd"
    if style in {"mjd", "jd"}:
        return _parse_number(text, _JD_OF_MJD_ZERO if style == "jd" else 0.0)
    if style == "auto":
        return _parse_text(text)
    moment = _strptime(text, style)
    return None if moment is None else Instant(mjd_of(moment))


def mjd_of(moment: datetime) -> float:
    """Modified Julian Day; a moment without a time zone is UTC."""
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (aware - _MJD_ZERO) / timedelta(days=1)


def iso_text(mjd: float) -> str:
    """``YYYY-MM-DDThh:mm:ss.sss`` (UTC)."""
    moment = _MJD_ZERO + timedelta(days=mjd)
    return moment.replace(tzinfo=None).isoformat(timespec="milliseconds")


def to_utc(mjd: float, scale: str) -> float:
    """An MJD of another time scale (TAI, TT, TDB, GPS) in UTC."""
    if scale == "utc":
        return mjd
    from astropy.time import Time

    if scale == "gps":
        return float(Time(mjd + 19.0 / 86400.0, format="mjd", scale="tai").utc.mjd)
    return float(Time(mjd, format="mjd", scale=scale).utc.mjd)


def _parse_number(text: str, zero: float) -> Instant | None:
    try:
        mjd = float(text) - zero
    except ValueError:
        return None
    return Instant(mjd) if math.isfinite(mjd) and mjd > 0 else None


def _parse_text(text: str) -> Instant | None:
    if found := _OLD_DATE.match(text):
        day, month, year = found.groups()
        text = f"19{year}-{month}-{day}"
    if _DAY.match(text):
        moment = _strptime(re.sub(r"\D", "", text), "%Y%m%d")
        return None if moment is None else Instant(mjd_of(moment), day_only=True)
    try:
        return Instant(mjd_of(datetime.fromisoformat(_tidy(text))))
    except ValueError:
        return None


def _strptime(text: str, style: str) -> datetime | None:
    try:
        return datetime.strptime(text, style)
    except ValueError:
        return None


def _tidy(text: str) -> str:
    """What fromisoformat takes: dashes, at most six decimals."""
    dashed = re.sub(r"^(\d{4})/(\d{2})/(\d{2})", r"\1-\2-\3", text)
    return re.sub(r"(\.\d{6})\d+", r"\1", dashed)


def _is_number(value: object) -> bool:
    if isinstance(value, bool):
        return False
    if isinstance(value, (int, float)):
        return True
    try:
        float(str(value))
    except ValueError:
        return False
    return True

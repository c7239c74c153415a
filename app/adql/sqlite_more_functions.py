"""What SQLite must be taught for CAST and for the user functions.

PostgreSQL has functions of the same names and results (``migrations/sql``). NULL in gives NULL out,
and what cannot be converted is NULL.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from ctypes import c_float
from decimal import Decimal
from hashlib import md5
from typing import Any, Final

from app.adql.healpix import nested_index
from app.adql.instants import to_mjd, to_timestamp

_WHOLE: Final = re.compile(r"[+-]?[0-9]{1,30}")
_NUMBER: Final = re.compile(
    r"[+-]?(?:[0-9]{1,300}\.?[0-9]{0,300}|\.[0-9]{1,300})(?:[eE][+-]?[0-9]{1,3})?"
)
_SEPARATORS: Final = re.compile(r"[\x01-/:-@\[-`{-\x7f]+")
_OPEN: Final = {"-inf": -math.inf, "inf": math.inf, "+inf": math.inf}
_FOLDED: Final = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}

SMALLEST_DOUBLE: Final = 2.2250738585072014e-308
SMALLEST_SINGLE: Final = 1.1754943508222875e-38
GREATEST_SINGLE: Final = 3.4028235677973362e38
"""The last double that still rounds to a number of 32 bits."""


def _cast_whole(value: float | int | str | None, low: int, high: int) -> int | None:
    """A whole number from low to high; reals are rounded, halves to the even neighbour."""
    if isinstance(value, str):
        text = value.strip(" ")
        value = int(text) if _WHOLE.fullmatch(text) else None
    if value is None or not math.isfinite(value):
        return None
    whole = round(value)
    return whole if low <= whole <= high else None


def _cast_double(text: str | None) -> float | None:
    trimmed = "" if text is None else text.strip(" ")
    if not _NUMBER.fullmatch(trimmed):
        return None
    value = float(trimmed)
    if not math.isfinite(value):
        return None
    return 0.0 if abs(value) < SMALLEST_DOUBLE else value


def _cast_single(value: float | None) -> float | None:
    """The nearest number of 32 bits."""
    if value is None or abs(value) > GREATEST_SINGLE:
        return None
    return 0.0 if abs(value) < SMALLEST_SINGLE else c_float(value).value


def _real_text(value: float | None) -> str | None:
    """The shortest text that reads back as the same double, written as PostgreSQL writes it."""
    if value is None:
        return None
    sign, digits, exponent = Decimal(repr(float(value))).as_tuple()
    mantissa = "".join(map(str, digits)).rstrip("0") or "0"
    power = len(digits) - 1 + int(exponent)
    if mantissa == "0":
        text = "0"
    elif not -4 <= power < 15:
        text = mantissa[0] + ("." + mantissa[1:] if len(mantissa) > 1 else "")
        text += f"e{power:+03d}"
    elif power < 0:
        text = "0." + "0" * (-power - 1) + mantissa
    else:
        whole, decimals = mantissa[: power + 1].ljust(power + 1, "0"), mantissa[power + 1 :]
        text = whole + (f".{decimals}" if decimals else "")
    return f"-{text}" if sign else text


def _boolean_text(value: int | None) -> str | None:
    return None if value is None else "true" if value else "false"


def _text_function(function: Callable[[str], Any]) -> Callable[[str | None], Any]:
    return lambda text: None if text is None else function(text)


def _words(text: str) -> str:
    """Words in lower case (A to Z only), one blank around each; the rest separates them."""
    return _SEPARATORS.sub(" ", f" {text.translate(_FOLDED)} ")


def _hasword(haystack: str | None, needle: str | None) -> int | None:
    if haystack is None or needle is None:
        return None
    wanted = _words(needle)
    return int(wanted != " " and wanted in _words(haystack))


def _healpix(order: float | None, lon_deg: float | None, lat_deg: float | None) -> int | None:
    if order is None or lon_deg is None or lat_deg is None or not 0 <= order <= 29:
        return None
    return nested_index(int(order), lon_deg, lat_deg)


def _interval_has(value: float | None, text: str | None) -> int | None:
    ends = [None] if text is None else [_bound(word) for word in text.split(" ") if word]
    if value is None or len(ends) != 2:
        return None
    low, high = ends
    return None if low is None or high is None else int(low <= value <= high)


def _bound(word: str) -> float | None:
    return _OPEN.get(word.lower()) or _cast_double(word)


def _random_of(seed: str) -> float:
    """A number from 0 to 1 that the seed alone determines."""
    return int(md5(seed.encode(), usedforsecurity=False).hexdigest()[:13], 16) / 4503599627370496.0


class _StringAggregate:
    """Texts joined in the order of their code points, so that one set has one answer."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._separator = ""

    def step(self, text: str | None, separator: str | None) -> None:
        """One row; NULL is left out."""
        self._separator = separator or ""
        if text is not None:
            self._texts.append(text)

    def finalize(self) -> str | None:
        """The answer of a group."""
        return self._separator.join(sorted(self._texts)) if self._texts else None


def _padded(text: str | None, length: int) -> str | None:
    """PostgreSQL's ``rpad``."""
    return None if text is None else text[:length].ljust(length)


MORE_FUNCTIONS: Final[tuple[tuple[str, int, Callable[..., Any]], ...]] = (
    ("adql_cast_whole", 3, _cast_whole),
    ("adql_cast_double", 1, _cast_double),
    ("adql_cast_single", 1, _cast_single),
    ("adql_cast_timestamp", 1, _text_function(to_timestamp)),
    ("adql_real_text", 1, _real_text),
    ("adql_boolean_text", 1, _boolean_text),
    ("rpad", 2, _padded),
    ("adql_mjd", 1, _text_function(to_mjd)),
    ("adql_hasword", 2, _hasword),
    ("adql_healpix", 3, _healpix),
    ("adql_interval_has", 2, _interval_has),
    ("adql_random_of", 1, _text_function(_random_of)),
)
"""(name, number of arguments, function)."""

AGGREGATES: Final[tuple[tuple[str, int, type[Any]], ...]] = (
    ("adql_string_agg", 2, _StringAggregate),
)
"""(name, number of arguments, class)."""

"""Numbers in the text of requests, as DALI 1.1 (section 3.3.2) has them: those of VOTable 1.4,
section 6. Python would also take the digits of other scripts, and ``1_000``.
"""

from __future__ import annotations

import math


def parse_whole(text: str, base: int = 10) -> int:
    """A whole number: ASCII digits and a sign, blanks around them. Raises ValueError."""
    return int(_plain(text), base)


def parse_number(text: str) -> float:
    """A number, with a decimal point and an exponent if need be; NaN and ±Inf too.

    Raises ValueError, also for a number that a double cannot hold.
    """
    value = float(_plain(text))
    if math.isinf(value) and any(character.isdigit() for character in text):
        raise ValueError(text)
    return value


def parse_bound(text: str) -> float:
    """A number or ±Inf, as in an interval (DALI 1.1, section 3.3.4). Raises ValueError."""
    value = parse_number(text)
    if math.isnan(value):
        raise ValueError(text)
    return value


def parse_finite(text: str) -> float:
    """A number, neither NaN nor infinite. Raises ValueError."""
    value = parse_number(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


def _plain(text: str) -> str:
    word = text.strip()
    if "_" in word or not word.isascii():
        raise ValueError(text)
    return word

"""Products and powers of units by their text alone, as VOUnits 1.1 write them (``km.s**-1``).

Reading units with astropy takes a tenth of a millisecond each: too long for what every result
column asks. What is not a plain product of named units has no answer here.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Final

_FACTOR: Final = re.compile(r"([A-Za-z]+)(?:\*\*(-?[0-9]{1,2})|([0-9]))?")
_MAX_CHARACTERS: Final = 80


def product(a: str, b: str, power: int = 1) -> str | None:
    """``a * b ** power``; "" is a pure number. None if a text is no plain product."""
    left, right = _factors(a), _factors(b)
    if left is None or right is None:
        return None
    for name, exponent in right.items():
        left[name] = left.get(name, Fraction(0)) + power * exponent
    return _written(left)


def raised(unit: str, exponent: float) -> str | None:
    """The unit to a power; None unless all its powers are whole numbers then."""
    factors = _factors(unit)
    power = Fraction(exponent).limit_denominator(6)
    if factors is None or abs(power - exponent) > 1e-12:
        return None
    return _written({name: each * power for name, each in factors.items()})


def _factors(text: str) -> dict[str, Fraction] | None:
    """Named unit -> exponent. A divisor is what stands behind a single slash."""
    if len(text) > _MAX_CHARACTERS or text.count("/") > 1:
        return None
    factors: dict[str, Fraction] = {}
    for sign, part in zip((1, -1), text.split("/"), strict=False):
        for word in part.split(".") if part else []:
            found = _FACTOR.fullmatch(word)
            if found is None or (sign < 0 and "." in part):
                return None
            exponent = Fraction(int(found.group(2) or found.group(3) or 1))
            factors[found.group(1)] = factors.get(found.group(1), Fraction(0)) + sign * exponent
    return factors


def _written(factors: dict[str, Fraction]) -> str | None:
    kept = {name: exponent for name, exponent in factors.items() if exponent}
    if any(exponent.denominator != 1 for exponent in kept.values()):
        return None
    words = [name if exponent == 1 else f"{name}**{exponent}" for name, exponent in kept.items()]
    return ".".join(words)

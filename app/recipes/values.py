"""Values of DALI parameters: grouped by name, then read one by one."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from app.errors import MultiValuedParameterError, ParameterError, quoted
from app.sky.dali import parse_interval
from app.sky.numbers import parse_number, parse_whole

Parameters = Sequence[tuple[str, str]]
Values = Mapping[str, Sequence[str]]
"""Upper-case name -> what was given for it."""
Interval = tuple[float, float]

STANDARD_NAMES = frozenset(
    {"REQUEST", "VERSION", "RESPONSEFORMAT", "FORMAT", "MAXREC", "RUNID", "PHASE", "WAIT", "LAST"}
)
"""Names that DALI and UWS give a meaning and a build does not use: accepted and left aside."""

_TRUTH = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}

T = TypeVar("T")


def group(parameters: Parameters, allowed: Sequence[str]) -> dict[str, list[str]]:
    """Parameters by name, blank ones left out. Raises ParameterError for one that is not in
    ``allowed``: a misspelt name would silently build something else than was asked."""
    values: dict[str, list[str]] = {}
    for name, value in parameters:
        folded = name.upper()
        if folded in allowed:
            values.setdefault(folded, []).append(value)
        elif folded not in STANDARD_NAMES:
            raise ParameterError(name, f"not known here; allowed are {', '.join(allowed)}")
    return {
        name: told for name, given in values.items() if (told := [v for v in given if v.strip()])
    }


def single(values: Values, name: str, parse: Callable[[str, str], T]) -> T | None:
    """The one value of a name, read by ``parse(name, text)``; None when it is not given."""
    given = values.get(name, ())
    if len(given) > 1:
        raise MultiValuedParameterError(name, f"{len(given)} values were given")
    return parse(name, given[0]) if given else None


def text(_name: str, given: str) -> str:
    """Any text."""
    return given.strip()


def number(name: str, given: str) -> float:
    """Any number or ±Inf."""
    try:
        value = parse_number(given)
    except ValueError:
        raise ParameterError(name, f"a number is needed, got {quoted(given)}") from None
    if math.isnan(value):
        raise ParameterError(name, "a number is needed, got NaN")
    return value


def positive(name: str, given: str) -> float:
    """A finite number above 0."""
    value = number(name, given)
    if not 0 < value < math.inf:
        raise ParameterError(name, f"a number above 0 is needed, got {quoted(given)}")
    return value


def fraction(name: str, given: str) -> float:
    """Above 0 and at most 1."""
    value = number(name, given)
    if not 0 < value <= 1:
        raise ParameterError(name, f"above 0 and at most 1, got {quoted(given)}")
    return value


def whole(least: int, most: int) -> Callable[[str, str], int]:
    """A reader of whole numbers from ``least`` to ``most``."""

    def parse(name: str, given: str) -> int:
        try:
            value = parse_whole(given)
        except ValueError:
            value = None
        if value is None or not least <= value <= most:
            reason = f"a whole number from {least} to {most}, got {quoted(given)}"
            raise ParameterError(name, reason)
        return value

    return parse


def truth(name: str, given: str) -> bool:
    """True or false, in the words that people use for it."""
    word = given.strip().lower()
    if word not in _TRUTH:
        raise ParameterError(name, f"true or false is needed, got {quoted(word)}")
    return _TRUTH[word]


def one_of(choices: Sequence[T]) -> Callable[[str, str], T]:
    """A reader of words out of ``choices``, in any case."""

    def parse(name: str, given: str) -> T:
        for choice in choices:
            if given.strip().lower() == choice:
                return choice
        offered = ", ".join(map(str, choices))
        raise ParameterError(name, f"one of {offered}, got {quoted(given.strip())}")

    return parse


def intervals(values: Values, name: str) -> tuple[Interval, ...]:
    """Every interval of a name that may be repeated."""
    return tuple(parse_interval(name, given) for given in values.get(name, ()))

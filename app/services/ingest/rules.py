"""One rule of a profile: where a value comes from and what is done with it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from string import Formatter
from typing import Any

from app.services.ingest.cards import Cards, CardValue
from app.services.ingest.times import Instant, parse_instant

FUNCTIONS: Mapping[str, Callable[[float], float]] = {
    "2.5log10": lambda value: 2.5 * math.log10(value),
    "sqrt": math.sqrt,
    "inverse": lambda value: 1.0 / value,
}

FWHM_UNITS = ("arcsec", "pixel", "deg", "comment")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Exactly one of ``value``, ``cards`` and ``template`` is the source.

    Then, in this order: ``match`` (a regular expression that must be found; the value becomes
    ``take``), ``map`` (by text, case-insensitive; a value that is not in it is none),
    ``function``, ``scale`` and ``offset`` (numbers). ``format`` reads a date.
    """

    value: CardValue | None = None
    cards: tuple[str, ...] = ()
    template: str | None = None
    match: re.Pattern[str] | None = None
    take: str | None = None
    map: Mapping[str, CardValue] = field(default_factory=dict)
    function: str | None = None
    scale: float = 1.0
    offset: float = 0.0
    unit: str | None = None
    format: str | None = None
    per_second: bool = False

    @property
    def is_number_rule(self) -> bool:
        """Whether the value must be a number."""
        return self.function is not None or self.scale != 1.0 or self.offset != 0.0


@dataclass(frozen=True, slots=True)
class Found:
    """A value, the rule that gave it and the card it came from (if it was one)."""

    value: CardValue
    rule: Rule
    card: str | None = None


def find_value(rules: Sequence[Rule], cards: Cards) -> CardValue | None:
    """The value of the first rule that gives one; an empty text means none on purpose."""
    found = find(rules, cards)
    return None if found is None or found.value == "" else found.value


def find_number(rules: Sequence[Rule], cards: Cards) -> float | None:
    """The finite number of the first rule that gives one."""
    for rule in rules:
        found = find((rule,), cards)
        number = None if found is None else as_number(found.value)
        if number is not None:
            return number
    return None


def find_instant(rules: Sequence[Rule], cards: Cards) -> Instant | None:
    """The moment of the first rule whose value is a date in the rule's format."""
    for rule in rules:
        for found in _candidates(rule, cards):
            moment = parse_instant(found.value, rule.format or "auto")
            if moment is not None:
                return Instant(moment.mjd + rule.offset, moment.day_only)
    return None


def find(rules: Sequence[Rule], cards: Cards) -> Found | None:
    """The first value that a rule gives, with its origin."""
    for rule in rules:
        for found in _candidates(rule, cards):
            value = _transformed(rule, found.value)
            if value is not None:
                return Found(value, rule, found.card)
    return None


def as_number(value: object) -> float | None:
    """A finite number, from a number or a text of one; None otherwise."""
    if isinstance(value, bool) or value is None:
        return None
    try:
        number = float(str(value))
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _candidates(rule: Rule, cards: Cards) -> list[Found]:
    """Raw values of a rule's sources after ``match`` and ``map``."""
    sources: list[tuple[CardValue | None, str | None]]
    if rule.cards:
        sources = [(cards.find(name), name) for name in rule.cards]
    elif rule.template is not None:
        sources = [(fill(rule.template, cards), None)]
    else:
        sources = [(rule.value, None)]
    picked = ((_picked(rule, value), name) for value, name in sources if value is not None)
    return [Found(value, rule, name) for value, name in picked if value is not None]


def _picked(rule: Rule, value: CardValue) -> CardValue | None:
    if rule.match is not None:
        found = rule.match.search(str(value))
        if found is None:
            return None
        value = found.expand(rule.take) if rule.take is not None else found[found.lastindex or 0]
    if rule.map:
        return rule.map.get(str(value).strip().lower())
    return value


def _transformed(rule: Rule, value: CardValue) -> CardValue | None:
    if not rule.is_number_rule:
        return value
    number = as_number(value)
    if number is None:
        return None
    if rule.function is not None:
        try:
            number = FUNCTIONS[rule.function](number)
        except (ValueError, ZeroDivisionError):
            return None
    return number * rule.scale + rule.offset


class _CardFormatter(Formatter):
    """``str.format`` whose fields are card names (any characters but braces, ``!`` and ``:``)."""

    def get_field(self, field_name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        value = kwargs["cards"].find(field_name)
        if value is None:
            raise KeyError(field_name)
        return value, field_name


def fill(template: str, cards: Cards) -> str | None:
    """A template filled from cards, or None when one of them is missing or does not fit."""
    try:
        return _CardFormatter().vformat(template, (), {"cards": cards})
    except (KeyError, ValueError, TypeError):
        return None

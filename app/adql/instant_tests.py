"""Timestamps beside instants written as text.

Stores keep timestamps as text, some with decimals of the second or a Z, some without. A literal is
therefore compared by what it means: the tests here are made of plain comparisons of text, which
indexes serve, and are right whichever way the stored value is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from app.adql.instants import to_key
from app.adql.typed import Comparison, Condition, Expression, InList, Junction, Literal, Not

_MAX_DECIMALS: Final = 9
_MIDNIGHT: Final = "T00:00:00"


def compare_instants(a: Expression, operator: str, b: Expression) -> Condition | None:
    """``a operator b`` if a is a timestamp and b the text of an instant; None otherwise."""
    key = _key(a, b)
    if key is None:
        return None
    if operator in ("=", "<>"):
        equal = InList(a, _texts(_forms(key)))
        return equal if operator == "=" else Not(equal)
    below = _below(a, key) if operator in ("<", ">=") else _up_to(a, key)
    return below if operator in ("<", "<=") else Not(below)


def instant_between(a: Expression, low: Expression, high: Expression) -> Condition | None:
    """``a BETWEEN low AND high`` likewise."""
    tests = (compare_instants(a, ">=", low), compare_instants(a, "<=", high))
    found = tuple(test for test in tests if test is not None)
    return Junction("AND", found) if len(found) == 2 else None


def instant_among(a: Expression, items: Sequence[Expression]) -> Condition | None:
    """``a IN (items)`` likewise."""
    keys = [_key(a, item) for item in items]
    forms = [form for key in keys if key is not None for form in _forms(key)]
    return InList(a, _texts(forms)) if keys and None not in keys else None


def _key(a: Expression, b: Expression) -> str | None:
    if a.kind != "timestamp" or not isinstance(b, Literal) or not isinstance(b.value, str):
        return None
    return to_key(b.value)


def _below(a: Expression, key: str) -> Condition:
    """Earlier. A Z sorts behind decimals, so fewer decimals with a Z are named one by one."""
    plain = Comparison("<", a, Literal(key.removesuffix(_MIDNIGHT), "text"))
    shorter = [f"{text}Z" for text in _shorter(key)]
    return Junction("OR", (plain, InList(a, _texts(shorter)))) if shorter else plain


def _up_to(a: Expression, key: str) -> Condition:
    padded = _padded(key)
    plain = Comparison("<=", a, Literal(padded[-1], "text"))
    with_z = [f"{text}Z" for text in (*_shorter(key), *padded)]
    return Junction("OR", (plain, InList(a, _texts(with_z))))


def _shorter(key: str) -> list[str]:
    """Earlier instants whose text is the beginning of this one."""
    whole, point, decimals = key.partition(".")
    cut = [f"{whole}.{decimals[:n]}" for n in range(1, len(decimals))]
    return [whole, *cut] if point else []


def _padded(key: str) -> list[str]:
    """The instant with as many decimals as it needs, up to nine or one more than it has."""
    whole, _, decimals = key.partition(".")
    most = max(_MAX_DECIMALS, len(decimals) + 1)
    texts = [decimals.ljust(n, "0") for n in range(len(decimals), most + 1)]
    return [f"{whole}.{each}" if each else whole for each in texts]


def _forms(key: str) -> list[str]:
    """Every text of the same instant with so many decimals."""
    plain = _padded(key)
    day = [key.removesuffix(_MIDNIGHT)] if key.endswith(_MIDNIGHT) else []
    return [*plain, *(f"{text}Z" for text in plain), *day]


def _texts(forms: Sequence[str]) -> tuple[Expression, ...]:
    return tuple(Literal(form, "text") for form in dict.fromkeys(forms))

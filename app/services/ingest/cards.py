"""Header cards as a profile sees them: by name, nearest header first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from astropy.io.fits import Header

CardValue = str | int | float | bool

_UNSET = frozenset({"", "unknown", "_unknown_", "undefined", "n/a", "none", "null", "nan"})
"""Texts that pipelines write where they know nothing."""


class Cards:
    """The headers of an HDU (its own first, then the primary's) and named facts of the file.

    ``facts`` answer to lower-case names such as ``stem`` or ``hdu`` and win over cards.
    """

    def __init__(self, headers: Sequence[Header], facts: Mapping[str, CardValue]) -> None:
        self._headers = headers
        self._facts = dict(facts)

    def with_facts(self, **facts: CardValue | None) -> Cards:
        """The same cards with more facts; those that are None are left out."""
        known = {name: value for name, value in facts.items() if value is not None}
        return Cards(self._headers, {**self._facts, **known})

    def find(self, name: str) -> CardValue | None:
        """The value of a fact or card that says something, or None."""
        if name in self._facts:
            return self._facts[name]
        for header in self._headers:
            value = _value(header, name)
            if isinstance(value, str):
                value = value.strip()
                if value.lower() in _UNSET:
                    continue
            if isinstance(value, (str, bool, int, float)):
                return value
        return None

    def find_comment(self, name: str) -> str:
        """The comment of the first header's card of that name, or nothing."""
        for header in self._headers:
            if name in header:
                return str(header.comments[name])
        return ""


def _value(header: Header, name: str) -> Any:
    """A card's value; one that cannot be read says nothing."""
    try:
        return header.get(name)
    except Exception:
        return None

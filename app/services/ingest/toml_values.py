"""Values of a TOML document, checked one by one; a fault names the key."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from app.errors import UsageError

_GROUP = re.compile(r"\\(?:(\d+)|g<(\w+)>)")


def join(*parts: str) -> str:
    """A dotted key; empty parts are left out."""
    return ".".join(part for part in parts if part)


def only(table: Mapping[str, Any], allowed: set[str], where: str) -> None:
    """Raises UsageError when a table has a key that is not allowed."""
    for key in table:
        if key not in allowed:
            known = ", ".join(sorted(allowed))
            raise UsageError(f"{join(where, key)} is not known; allowed here: {known}")


def table(value: Any, where: str) -> Mapping[str, Any]:
    """A TOML table."""
    if not isinstance(value, Mapping):
        raise UsageError(f"{where} is not a table: {value!r}")
    return value


def tables(raw: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    """An array of tables, empty when it is missing."""
    value = raw.get(key, [])
    if not isinstance(value, list) or not all(isinstance(item, Mapping) for item in value):
        raise UsageError(f"{key} is not a list of tables: write [[{key}]]")
    return value


def constant(value: Any, where: str) -> str | int | float | bool:
    """A text, a number or a truth value."""
    if not isinstance(value, (str, int, float, bool)):
        raise UsageError(f"{where} is not a text or a number: {value!r}")
    return value


def text(value: Any, where: str) -> str:
    """A text."""
    if not isinstance(value, str):
        raise UsageError(f"{where} is not a text: {value!r}")
    return value


def number(value: Any, where: str) -> float:
    """A number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise UsageError(f"{where} is not a number: {value!r}")
    return float(value)


def truth(value: Any, where: str) -> bool:
    """A truth value."""
    if not isinstance(value, bool):
        raise UsageError(f"{where} is neither true nor false: {value!r}")
    return value


def texts(value: Any, where: str) -> tuple[str, ...]:
    """A list of texts; a single text stands for a list of one."""
    items = [value] if isinstance(value, str) else value
    if not isinstance(items, list):
        raise UsageError(f"{where} is not a list of texts: {value!r}")
    return tuple(text(item, where) for item in items)


def pattern(value: Any, where: str) -> re.Pattern[str]:
    """A regular expression."""
    try:
        return re.compile(text(value, where))
    except re.error as fault:
        raise UsageError(f"{where} is not a regular expression: {fault}") from fault


def replacement(value: Any, groups: re.Pattern[str], where: str) -> str:
    r"""A replacement text that names only groups which the pattern has (``\1``, ``\g<name>``)."""
    result = text(value, where)
    for found in _GROUP.finditer(result):
        name = found[1] or found[2]
        known = int(name) <= groups.groups if name.isdigit() else name in groups.groupindex
        if not known:
            raise UsageError(f"{where}: its match has no group {name}")
    return result


def choice(*allowed: str) -> Callable[[Any, str], str]:
    """A reader of one of a few texts."""

    def read(value: Any, where: str) -> str:
        if value not in allowed:
            raise UsageError(f"{where} is none of {', '.join(allowed)}: {value!r}")
        return str(value)

    return read


def constants(value: Any, where: str) -> dict[str, str | int | float | bool]:
    """A table of constants, its keys in lower case."""
    items = table(value, where).items()
    return {key.lower(): constant(item, f"{where}.{key}") for key, item in items}


def numbers(value: Any, where: str) -> dict[str, float]:
    """A table of numbers, its keys in lower case."""
    items = table(value, where).items()
    return {key.lower(): number(item, f"{where}.{key}") for key, item in items}

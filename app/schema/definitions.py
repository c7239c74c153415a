"""Definitions of published tables as text, the form in which the database keeps them."""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from typing import Any

from app.schema.fields import Field, ForeignKey, Table


def table_to_text(table: Table) -> str:
    """JSON of a table; what has its default value is left out."""
    content = _spoken(table)
    content["fields"] = [_spoken(field) for field in table.fields]
    content["foreign_keys"] = [_spoken(key) for key in table.foreign_keys]
    return json.dumps(content, ensure_ascii=False)


def table_from_text(text: str) -> Table:
    """The table of :func:`table_to_text`. What a newer version added is passed over."""
    content = json.loads(text)
    content["fields"] = tuple(Field(**_known(Field, each)) for each in content["fields"])
    content["foreign_keys"] = tuple(
        ForeignKey(**_known(ForeignKey, each) | {"columns": _pairs(each["columns"])})
        for each in content.get("foreign_keys", ())
    )
    content["positions"] = _pairs(content.get("positions", ()))
    return Table(**_known(Table, content))


def _spoken(value: Table | Field | ForeignKey) -> dict[str, Any]:
    defaults = {each.name: each.default for each in fields(value)}
    return {name: item for name, item in asdict(value).items() if item != defaults[name]}


def _known(kind: type[Any], content: dict[str, Any]) -> dict[str, Any]:
    names = {each.name for each in fields(kind)}
    return {name: item for name, item in content.items() if name in names}


def _pairs(items: Any) -> tuple[tuple[str, str], ...]:
    return tuple((str(a), str(b)) for a, b in items)

"""Names and descriptions of the columns of an answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from app.adql import tree, typed
from app.adql.casts import cast_form
from app.adql.kinds import column_form
from app.adql.relations import Output
from app.adql.units import converted_from, unit_of
from app.errors import LimitError
from app.schema.fields import Field
from app.sky.shapes import Circle

MAX_OUTPUTS: Final = 1600
"""PostgreSQL gives 1664 columns at most, SQLite 2000."""

Item = tuple[typed.Expression, tree.Name | None, tree.Value | None]
"""Expression, alias, and what was written (None for what ``*`` brought)."""


def check_output_count(count: int) -> None:
    """LimitError for more columns than :data:`MAX_OUTPUTS`."""
    if count > MAX_OUTPUTS:
        raise LimitError("columns of a result", count, MAX_OUTPUTS)


def name_outputs(items: Sequence[Item]) -> tuple[Output, ...]:
    """Outputs with names that differ in more than case; a repeated one gets ``_2``, ``_3`` …

    Raises LimitError when there are more than :data:`MAX_OUTPUTS`.
    """
    check_output_count(len(items))
    taken: set[str] = set()
    numbers: dict[str, int] = {}
    outputs = []
    for expression, alias, written in items:
        name = alias.text if alias is not None else _name_of(expression, written)
        unique, number = name, numbers.get(name.lower(), 1)
        while unique.lower() in taken:
            number += 1
            unique = f"{name}_{number}"
        numbers[name.lower()] = number
        taken.add(unique.lower())
        outputs.append(Output(expression, _field(expression, unique)))
    return tuple(outputs)


def _name_of(expression: typed.Expression, written: tree.Value | None) -> str:
    if isinstance(expression, typed.Column):
        return expression.field.name
    if isinstance(written, tree.Call | tree.Aggregate):
        return written.name.lower()
    if isinstance(written, tree.ColumnRef):
        return written.parts[-1].text
    return "expression"


def _field(expression: typed.Expression, name: str) -> Field:
    if isinstance(expression, typed.Column):
        field = expression.field
        if field.name == name and field.prefix_bind is None:
            return field
        return replace(field, name=name, prefix_bind=None)
    kind, datatype, arraysize, xtype = column_form(expression.kind)
    if isinstance(expression, typed.Cast):
        datatype, arraysize = cast_form(expression)
    if isinstance(expression, typed.CircleOf) or (
        isinstance(expression, typed.Constant) and isinstance(expression.shape, Circle)
    ):
        arraysize, xtype = "3", "circle"
    return Field(
        name=name,
        kind=kind,
        datatype=datatype,
        arraysize=arraysize,
        xtype=xtype,
        unit=unit_of(expression),
        ucd=_ucd(expression),
    )


def _ucd(expression: typed.Expression) -> str | None:
    """That of a column whose values stay what they are in another type or unit."""
    inner = expression
    while isinstance(inner, typed.Cast | typed.InUnit):
        inner = converted_from(inner)
    is_same = inner is not expression and isinstance(inner, typed.Column)
    return inner.field.ucd if is_same and isinstance(inner, typed.Column) else None

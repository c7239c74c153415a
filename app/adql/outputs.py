"""Names and descriptions of the columns of an answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from app.adql import tree, typed
from app.adql.kinds import column_form
from app.schema.fields import Field
from app.sky.shapes import Circle

Item = tuple[typed.Expression, tree.Name | None, tree.Value | None]
"""Expression, alias, and what was written (None for what ``*`` brought)."""


def name_outputs(items: Sequence[Item]) -> tuple[typed.Output, ...]:
    """Outputs with names that differ in more than case; a repeated one gets ``_2``, ``_3`` …"""
    taken: set[str] = set()
    outputs = []
    for expression, alias, written in items:
        name = alias.text if alias is not None else _name_of(expression, written)
        unique = name
        number = 2
        while unique.lower() in taken:
            unique = f"{name}_{number}"
            number += 1
        taken.add(unique.lower())
        outputs.append(typed.Output(expression, _field(expression, unique)))
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
        return replace(expression.field, name=name, prefix_bind=None)
    kind, datatype, arraysize, xtype = column_form(expression.kind)
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
        unit=_unit(expression),
    )


def _unit(expression: typed.Expression) -> str | None:
    """The unit where it is sure: of a distance, a surface, an extreme or a mean of a column."""
    if isinstance(expression, typed.Separation | typed.RegionDistance) or expression.kind in (
        "point",
        "region",
    ):
        return "deg"
    if isinstance(expression, typed.RegionSize):
        return "deg2"
    if isinstance(expression, typed.Aggregate) and expression.name != "COUNT":
        argument = expression.argument
        return argument.field.unit if isinstance(argument, typed.Column) else None
    return None

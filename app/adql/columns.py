"""The columns that a subquery hands to the query around it.

A column of a table stays one, with its row in reach; a point, circle or polygon that is computed
travels as its numbers; everything else is a value.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, replace

from app.adql.geometry import as_geometry
from app.adql.kinds import ValueKind, are_comparable, column_form, common_kind
from app.adql.relations import COMPUTED, Output, Query, SetQuery
from app.adql.scope import Visible
from app.adql.tree import At
from app.adql.typed import (
    BoxOf,
    CircleOf,
    Column,
    Constant,
    Converted,
    Expression,
    Literal,
    PointOf,
    PolygonOf,
)
from app.adql.walk import children
from app.adql.wording import describe
from app.errors import AdqlTypeError
from app.schema.fields import Field
from app.sky.shapes import Polygon, Shape

_NOWHERE = At(1, 1)


def numbers_of(expression: Expression) -> tuple[Expression, ...] | None:
    """The numbers that a geometry travels as, or None for what travels as one value."""
    match expression:
        case PointOf() | CircleOf() | BoxOf() | PolygonOf():
            return children(expression)
        case Constant(shape):
            return tuple(Literal(number, "real") for number in _numbers(shape))
        case Column() if expression.kind == "point":
            point = as_geometry(expression, "POINT", _NOWHERE)
            return (point.lon, point.lat) if isinstance(point, PointOf) else None
    return None


def _numbers(shape: Shape) -> tuple[float, ...]:
    if isinstance(shape, Polygon):
        return tuple(x for vertex in shape.vertices for x in vertex)
    return astuple(shape)


def derive(source: int, query: Query | SetQuery) -> tuple[Visible, ...]:
    """What the columns of a subquery are to the query around it."""
    if isinstance(query, SetQuery):
        outputs, in_reach = query.first.outputs, False
    else:
        outputs, in_reach = query.outputs, not (query.distinct or query.is_grouped)
    return tuple(
        _derived(source, f"c{number}", output, in_reach) for number, output in enumerate(outputs, 1)
    )


def _derived(source: int, via: str, output: Output, in_reach: bool) -> Visible:
    expression = output.expression
    numbers = numbers_of(expression)
    if numbers is None:
        column = _column(source, via, expression, output.field, in_reach)
        return Visible(column.field, column)
    parts = [
        _column(source, f"{via}_{number}", part, _number_field(f"{via}_{number}"), in_reach)
        for number, part in enumerate(numbers, 1)
    ]
    field = replace(output.field, prefix_bind=None)
    if expression.kind == "point":
        return Visible(field, PointOf(parts[0], parts[1]))
    if len(parts) == 3:
        return Visible(field, CircleOf(parts[0], parts[1], parts[2]))
    if len(parts) == 4:
        return Visible(field, BoxOf(parts[0], parts[1], parts[2], parts[3]))
    return Visible(field, PolygonOf(tuple(parts)))


def _number_field(name: str) -> Field:
    return Field(name=name, kind="real", datatype="double")


def _column(source: int, via: str, expression: Expression, field: Field, in_reach: bool) -> Column:
    if in_reach and isinstance(expression, Column) and expression.is_stored:
        base = expression.field.physical
        origin = expression.origin or expression.source
        if field.physical != base or field.prefix_bind is not None:
            field = replace(field, column=base, prefix_bind=None)
        return Column(source, expression.table, field, via, base, origin)
    field = replace(field, column=via, prefix_bind=None, indexed=False)
    return Column(source, COMPUTED, field, via, via)


def merge_outputs(
    operands: Sequence[tuple[Output, ...]], places: Sequence[At]
) -> list[tuple[Output, ...]]:
    """The outputs of the operands of a set operator, brought to common kinds column by column.

    Names and descriptions are those of the first. Raises AdqlTypeError for kinds that differ.
    """
    columns = [_merged(column, places) for column in zip(*operands, strict=True)]
    return list(zip(*columns, strict=True))


def _merged(column: tuple[Output, ...], places: Sequence[At]) -> list[Output]:
    first = column[0]
    for output, place in zip(column[1:], places[1:], strict=True):
        same_form = (
            first.expression.kind != "region" or first.field.datatype == output.field.datatype
        )
        if not (same_form and _go_together(first.expression, output.expression)):
            ours, theirs = describe(first.field.kind), describe(output.field.kind)
            if first.field.kind == output.field.kind:
                theirs = f"{theirs} of another form"
            reason = f"column {first.field.name} is {ours} in the first query and {theirs} here"
            raise AdqlTypeError(reason, *place)
    kind = common_kind([output.expression.kind for output in column])
    field = first.field
    if field.kind != kind:
        shown, datatype, arraysize, xtype = column_form(kind)
        field = replace(field, kind=shown, datatype=datatype, arraysize=arraysize, xtype=xtype)
    if any(output.field.unit not in (None, field.unit) for output in column):
        field = replace(field, unit=None)
    if numbers_of(first.expression) is not None or kind == "region":
        return [Output(output.expression, field) for output in column]
    return [Output(_converted(output.expression, kind), field) for output in column]


def _converted(expression: Expression, kind: ValueKind) -> Expression:
    return expression if kind in (expression.kind, "null") else Converted(expression, kind)


def _go_together(a: Expression, b: Expression) -> bool:
    ours, theirs = numbers_of(a), numbers_of(b)
    if ours is not None and theirs is not None:
        return a.kind == b.kind and len(ours) == len(theirs)
    if ours is not None or theirs is not None:
        return False
    if a.kind == b.kind == "region":
        return True
    return are_comparable(a.kind, b.kind)

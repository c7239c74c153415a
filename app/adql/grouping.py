"""The rules of grouped queries, which SQLite would let pass and answer at random."""

from __future__ import annotations

from collections.abc import Iterator

from app.adql import tree, typed
from app.adql.relations import Query, sources_in
from app.adql.walk import children, has_aggregate, operands
from app.errors import AdqlTypeError


def check_grouping(query: Query, select: tree.Select, outer: tree.Query) -> None:
    """AdqlTypeError for a column that has many values in a group, or an order that DISTINCT hides.

    Without GROUP BY a query with an aggregate is one group.
    """
    _check_distinct(query, outer)
    ordered = [key.expression for key in query.order_by]
    shown = [output.expression for output in query.outputs]
    having = [] if query.having is None else list(operands(query.having))
    everything = [*shown, *ordered, *having]
    if not (query.group_by or query.having or any(map(has_aggregate, everything))):
        return
    own = frozenset(number for source in query.sources for number in sources_in(source))
    for expression in everything:
        for column in _ungrouped(expression, query.group_by):
            if column.source not in own:
                continue
            raise AdqlTypeError(
                f"column {column.field.name} is neither in GROUP BY nor inside an aggregate"
                + (" (group by the function of a region)" if column.kind == "region" else ""),
                *_place(column, select, outer),
            )


def _ungrouped(
    expression: typed.Expression, groups: tuple[typed.Expression, ...]
) -> Iterator[typed.Column]:
    if expression in groups or isinstance(expression, typed.Aggregate):
        return
    if isinstance(expression, typed.Column):
        yield expression
    for child in children(expression):
        # PostgreSQL groups a region by its text; what is asked of it looks at another column.
        if isinstance(child, typed.Column) and child.kind == "region":
            yield child
        yield from _ungrouped(child, groups)


def _check_distinct(query: Query, outer: tree.Query) -> None:
    if not query.distinct:
        return
    for key, term in zip(query.order_by, outer.order_by, strict=False):
        if key.output is None:
            reason = "with SELECT DISTINCT only selected columns may stand in ORDER BY"
            raise AdqlTypeError(reason, *term.value.at)


def _place(column: typed.Column, select: tree.Select, outer: tree.Query) -> tree.At:
    """Where the column is written, as far as a search through the plain items can tell."""
    written = [item.value for item in select.items if isinstance(item, tree.SelectItem)]
    for value in [*written, *(term.value for term in outer.order_by)]:
        named = value.parts[-1].text if isinstance(value, tree.ColumnRef) else ""
        if named.lower() == column.field.name.lower():
            return value.at
    return select.at

"""A syntax tree with every name looked up and every kind known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import count

from app.adql import tree, typed
from app.adql.columns import derive, merge_outputs
from app.adql.expressions import Resolver
from app.adql.relations import Derived, NamedQuery, OrderKey, Output, Query, SetQuery
from app.adql.scope import Named, Scope, same_name
from app.adql.selection import Selection, check_keys, ordinal
from app.errors import AdqlTypeError, LimitError, UnknownNameError, shortened
from app.schema.fields import Catalog

_MAX_SOURCES = 60
"""Tables and subqueries in one query, which the engines' planners must bear together."""

_MAX_COLUMNS = 5_000


def resolve(query: tree.Query, catalog: Catalog) -> Query:
    """The typed query. Raises AdqlError with the position of the fault."""
    context = _Context(catalog)
    for name, written in query.ctes:
        context.add_named(name, written)
    return replace(context.resolve_query(query, None), named=context.named)


class _Context:
    """What all parts of one query share."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self._numbers = count(1)
        self._columns = 0
        self._named: list[tuple[tree.Name, NamedQuery]] = []

    @property
    def named(self) -> tuple[NamedQuery, ...]:
        """The queries of WITH, in their order."""
        return tuple(named for _, named in self._named)

    def next_source(self) -> int:
        """A number that no other table of the query has."""
        number = next(self._numbers)
        if number > _MAX_SOURCES:
            what = "tables and subqueries in one query"
            raise LimitError(what, f"more than {_MAX_SOURCES}", _MAX_SOURCES)
        return number

    def count_columns(self, count: int) -> None:
        """LimitError when all the SELECTs together have too many columns."""
        self._columns += count
        if self._columns > _MAX_COLUMNS:
            what = "columns of all subqueries together"
            raise LimitError(what, f"more than {_MAX_COLUMNS}", _MAX_COLUMNS)

    def add_named(self, name: tree.Name, written: tree.Query) -> None:
        """A query of WITH; those after it can name it."""
        if self.find_named((name,)) is not None:
            reason = f"WITH names two queries {shortened(name.text)}"
            raise UnknownNameError(reason, *name.at)
        query = self.resolve_query(written, None)
        self._named.append((name, NamedQuery(len(self._named) + 1, query)))

    def find_named(self, parts: Sequence[tree.Name]) -> NamedQuery | None:
        """The query of WITH of that name, or None."""
        if len(parts) != 1:
            return None
        return next((named for name, named in self._named if same_name(parts[0], name)), None)

    def resolve_query(self, query: tree.Query, outer: Scope | None) -> Query:
        """A query whose names may be those of ``outer``."""
        body = query.body
        if isinstance(body, tree.Select):
            return Selection(body, query, outer, self).resolve()
        if isinstance(body, tree.SetOperation):
            inner: Query | SetQuery = self._set_query(body, outer)
        else:
            inner = self.resolve_query(body, outer)
            if not query.order_by and query.offset is None:
                return inner
        return self._wrapped(inner, query, outer)

    def _set_query(self, body: tree.SetOperation, outer: Scope | None) -> SetQuery:
        first = self._operand(body.first, outer)
        rest = [(word, every, self._operand(item, outer)) for word, every, item in body.rest]
        places = [body.first.at, *(item.at for _, _, item in body.rest)]
        operands = [first, *(operand for _, _, operand in rest)]
        for (word, _, operand), place in zip(rest, places[1:], strict=True):
            ours, theirs = len(first.outputs), len(operand.outputs)
            if ours != theirs:
                reason = f"{word} joins queries of as many columns; here are {ours} and {theirs}"
                raise AdqlTypeError(reason, *place)
        merged = merge_outputs([operand.outputs for operand in operands], places)
        operands = [
            replace(operand, outputs=outputs)
            for operand, outputs in zip(operands, merged, strict=True)
        ]
        steps = [(w, every, o) for (w, every, _), o in zip(rest, operands[1:], strict=True)]
        return SetQuery(operands[0], tuple(steps))

    def _operand(self, body: tree.Body, outer: Scope | None) -> Query:
        query = body if isinstance(body, tree.Query) else tree.Query(body, (), None, (), body.at)
        return self.resolve_query(query, outer)

    def _wrapped(self, inner: Query | SetQuery, query: tree.Query, outer: Scope | None) -> Query:
        """``SELECT * FROM (inner)`` with the order and offset of the query around it."""
        source = self.next_source()
        first = inner.first if isinstance(inner, SetQuery) else inner
        columns = derive(source, inner)
        outputs = tuple(
            Output(visible.expression, output.field)
            for visible, output in zip(columns, first.outputs, strict=True)
        )
        scope = Scope((Named(source, (), None, columns),), columns, outer, self.resolve_query)
        check_keys("ORDER BY", len(query.order_by))
        self.count_columns(len(columns))
        keys = tuple(_order_key(scope, outputs, term) for term in query.order_by)
        return Query(
            outputs=outputs,
            sources=(Derived(source, inner),),
            order_by=keys,
            offset=query.offset,
            outer=(*inner.outer, *scope.taken),
        )


def _order_key(scope: Scope, outputs: tuple[Output, ...], term: tree.OrderTerm) -> OrderKey:
    place = ordinal(term.value, outputs)
    if place is not None:
        return OrderKey(outputs[place].expression, term.descending, place)
    resolver = Resolver(scope, no_aggregates="may not order a set of rows")
    expression: typed.Expression = resolver.value(term.value)
    same = (i for i, output in enumerate(outputs) if output.expression == expression)
    return OrderKey(expression, term.descending, next(same, None))

"""One SELECT with every name looked up and every kind known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, cast

from app.adql import tree, typed
from app.adql.columns import derive
from app.adql.expressions import Resolver
from app.adql.grouping import check_grouping
from app.adql.joins import check_count, merge, shared_names
from app.adql.outputs import check_output_count, name_outputs
from app.adql.relations import (
    Derived,
    Joined,
    NamedQuery,
    NamedScan,
    OrderKey,
    Output,
    Query,
    Scan,
    Source,
    sources_in,
)
from app.adql.scope import Named, Scope, Visible, columns_of, find_table, matches
from app.errors import AdqlSyntaxError, AdqlTypeError, LimitError, UnknownNameError, shortened
from app.schema.fields import Catalog

_MAX_KEYS = 100
"""Each key is compared with every column of the answer."""


class Context(Protocol):
    """What a SELECT needs of the query it is part of."""

    catalog: Catalog

    def next_source(self) -> int:
        """A number that no other table of the query has."""

    def count_columns(self, count: int) -> None:
        """LimitError when all the SELECTs together have too many columns."""

    def find_named(self, parts: Sequence[tree.Name]) -> NamedQuery | None:
        """The query of WITH of that name, or None."""

    def resolve_query(self, query: tree.Query, outer: Scope | None) -> Query:
        """A subquery."""


class Selection:
    """One SELECT on its way."""

    def __init__(
        self, select: tree.Select, query: tree.Query, outer: Scope | None, context: Context
    ) -> None:
        self._select = select
        self._query = query
        self._outer = outer
        self._context = context
        self._tables: list[Named] = []
        self._scope = Scope((), (), outer, context.resolve_query)

    def resolve(self) -> Query:
        """The typed query. Raises AdqlError with the position of the fault."""
        columns: list[Visible] = []
        sources: list[Source] = []
        check_count(self._select.tables)
        for reference in self._select.tables:
            source, visible = self._source(reference)
            sources.append(source)
            columns += visible
        scope = self._scope = self._scope.with_tables(self._tables, columns)
        outputs, aliases = self._outputs(scope)
        query = Query(
            outputs=outputs,
            sources=tuple(sources),
            where=self._where(scope),
            group_by=self._group_by(scope, aliases),
            having=self._having(scope),
            order_by=self._order_by(scope, outputs, aliases),
            distinct=self._select.distinct,
            top=self._select.top,
            offset=self._query.offset,
            outer=tuple(scope.taken),
        )
        check_grouping(query, self._select, self._query)
        return query

    def _source(self, reference: tree.TableReference) -> tuple[Source, Sequence[Visible]]:
        if isinstance(reference, tree.Join):
            return self._join(reference)
        number = self._context.next_source()
        if isinstance(reference, tree.DerivedTable):
            query = self._context.resolve_query(reference.query, self._outer)
            self._scope.taken += query.outer
            source: Source = Derived(number, query)
            named = Named(number, (), reference.alias, derive(number, query))
        else:
            source, named = self._table(number, reference)
        self._check_alias(named, reference.at)
        self._tables.append(named)
        return source, named.columns

    def _table(self, number: int, reference: tree.TableName) -> tuple[Source, Named]:
        found = self._context.find_named(reference.parts)
        if found is not None:
            columns = derive(number, found.query)
            words: tuple[str, ...] = (reference.parts[0].text,)
            return NamedScan(number, found), Named(number, words, reference.alias, columns)
        table = find_table(self._context.catalog, reference.parts, reference.at)
        words = tuple(table.name.split("."))
        named = Named(number, words, reference.alias, columns_of(number, table))
        return Scan(number, table), named

    def _check_alias(self, named: Named, at: tree.At) -> None:
        taken = {table.shown.lower() for table in self._tables}
        if named.shown.lower() in taken:
            reason = f"{shortened(named.shown)} stands in FROM twice: give each its own alias"
            raise UnknownNameError(reason, *at)

    def _join(self, join: tree.Join) -> tuple[Source, Sequence[Visible]]:
        left, left_columns = self._source(join.left)
        before = list(self._tables)
        right, right_columns = self._source(join.right)
        columns = [*left_columns, *right_columns]
        if join.kind == "CROSS":
            return Joined("INNER", left, right, None), columns
        if join.natural or join.using:
            names = shared_names(join, left_columns, right_columns)
            condition, columns = merge(join, names, left_columns, right_columns)
            return Joined(join.kind, left, right, condition), columns
        if join.condition is None:
            raise AdqlSyntaxError("JOIN needs ON or USING", *join.at)
        # ON sees the tables of its own join only, not those before a comma.
        own = sources_in(left)
        tables = [t for t in before if t.source in own] + self._tables[len(before) :]
        scope = self._scope.with_tables(tables, columns)
        resolver = Resolver(scope, no_aggregates="may not stand in ON")
        return Joined(join.kind, left, right, resolver.condition(join.condition)), columns

    def _outputs(self, scope: Scope) -> tuple[tuple[Output, ...], dict[str, typed.Expression]]:
        resolver = Resolver(scope)
        found: list[tuple[typed.Expression, tree.Name | None, tree.Value | None]] = []
        for item in self._select.items:
            if isinstance(item, tree.SelectAll):
                table = scope.get_table(item.qualifier) if item.qualifier else None
                visible = table.columns if table else scope.columns
                found += [(column.expression, None, None) for column in visible]
                check_output_count(len(found))
            else:
                found.append((resolver.value(item.value), item.alias, item.value))
        self._context.count_columns(len(found))
        aliases = {alias.text.lower(): e for e, alias, _ in found if alias is not None}
        return name_outputs(found), aliases

    def _where(self, scope: Scope) -> typed.Condition | None:
        if self._select.where is None:
            return None
        resolver = Resolver(scope, no_aggregates="may not stand in WHERE; use HAVING")
        return resolver.condition(self._select.where)

    def _group_by(
        self, scope: Scope, aliases: dict[str, typed.Expression]
    ) -> tuple[typed.Expression, ...]:
        check_keys("GROUP BY", len(self._select.group_by))
        resolver = Resolver(scope, aliases=aliases, no_aggregates="may not stand in GROUP BY")
        for value in self._select.group_by:
            if isinstance(value, tree.Number):
                raise AdqlTypeError("GROUP BY takes columns, not their positions", *value.at)
        return tuple(resolver.value(value) for value in self._select.group_by)

    def _having(self, scope: Scope) -> typed.Condition | None:
        if self._select.having is None:
            return None
        return Resolver(scope).condition(self._select.having)

    def _order_by(
        self,
        scope: Scope,
        outputs: tuple[Output, ...],
        aliases: dict[str, typed.Expression],
    ) -> tuple[OrderKey, ...]:
        check_keys("ORDER BY", len(self._query.order_by))
        resolver = Resolver(scope, aliases=aliases)
        keys = []
        for term in self._query.order_by:
            place = self._position(term.value, outputs)
            if place is None:
                expression = resolver.value(term.value)
                same = (i for i, o in enumerate(outputs) if o.expression == expression)
                place = next(same, None)
            else:
                expression = outputs[place].expression
            keys.append(OrderKey(expression, term.descending, place))
        return tuple(keys)

    def _position(self, value: tree.Value, outputs: tuple[Output, ...]) -> int | None:
        """The output column that an ordinal or the name of an output means."""
        place = ordinal(value, outputs)
        if place is not None or not (isinstance(value, tree.ColumnRef) and len(value.parts) == 1):
            return place
        name = value.parts[0]
        items = self._select.items
        if any(isinstance(item, tree.SelectAll) for item in items):
            return None
        for number, item in enumerate(cast(tuple[tree.SelectItem, ...], items)):
            if item.alias is not None and matches(name, item.alias.text):
                return number
        return None


def check_keys(clause: str, count: int) -> None:
    """LimitError for more keys than are compared in good time."""
    if count > _MAX_KEYS:
        raise LimitError(f"expressions in {clause}", count, _MAX_KEYS)


def ordinal(value: tree.Value, outputs: tuple[Output, ...]) -> int | None:
    """The output column that a whole number in ORDER BY means, or None for another value."""
    if not (isinstance(value, tree.Number) and isinstance(value.value, int)):
        return None
    if not 1 <= value.value <= len(outputs):
        reason = f"ORDER BY {value.value}: the query has {len(outputs)} columns"
        raise AdqlTypeError(reason, *value.at)
    return value.value - 1

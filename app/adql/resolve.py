"""A SELECT of the syntax tree with every name looked up and every kind known."""

from __future__ import annotations

from itertools import count
from typing import cast

from app.adql import tree, typed
from app.adql.expressions import Resolver
from app.adql.grouping import check_grouping
from app.adql.outputs import name_outputs
from app.adql.scope import Named, Scope, Visible, find_table, matches
from app.errors import (
    AdqlSyntaxError,
    AdqlTypeError,
    AdqlUnsupportedError,
    LimitError,
    UnknownNameError,
)
from app.schema.fields import Catalog

_MAX_TABLES = 60
"""SQLite joins 64 at most."""


def resolve(query: tree.Query, catalog: Catalog) -> typed.TypedQuery:
    """The typed query. Raises AdqlError with the position of the fault."""
    if query.ctes:
        raise AdqlUnsupportedError("WITH is not offered yet", *query.ctes[0][0].at)
    select = query.body
    if isinstance(select, tree.SetOperation):
        raise AdqlUnsupportedError(f"{select.rest[0][0]} is not offered yet", *select.at)
    if isinstance(select, tree.Query):
        inner = select.order_by or select.offset is not None
        outer = query.order_by or query.offset is not None
        if inner and outer:
            raise AdqlUnsupportedError("ORDER BY inside and outside of parentheses", *select.at)
        return resolve(select if inner or not outer else _with_order(select, query), catalog)
    return _Selection(select, query, catalog).resolve()


def _with_order(inner: tree.Query, outer: tree.Query) -> tree.Query:
    return tree.Query(inner.body, outer.order_by, outer.offset, (), inner.at)


class _Selection:
    """One SELECT on its way."""

    def __init__(self, select: tree.Select, query: tree.Query, catalog: Catalog) -> None:
        self._select = select
        self._query = query
        self._catalog = catalog
        self._numbers = count(1)
        self._tables: list[Named] = []

    def resolve(self) -> typed.TypedQuery:
        columns: list[Visible] = []
        sources: list[typed.Source] = []
        _check_tables(self._select.tables)
        for reference in self._select.tables:
            source, visible = self._source(reference)
            sources.append(source)
            columns += visible
        scope = Scope(self._tables, columns)
        outputs, aliases = self._outputs(scope)
        typed_query = typed.TypedQuery(
            outputs=outputs,
            sources=tuple(sources),
            where=self._where(scope),
            group_by=self._group_by(scope, aliases),
            having=self._having(scope),
            order_by=self._order_by(scope, outputs, aliases),
            distinct=self._select.distinct,
            top=self._select.top,
            offset=self._query.offset,
        )
        check_grouping(typed_query, self._select, self._query)
        return typed_query

    def _source(self, reference: tree.TableReference) -> tuple[typed.Source, list[Visible]]:
        if isinstance(reference, tree.Join):
            return self._join(reference)
        if isinstance(reference, tree.DerivedTable):
            raise AdqlUnsupportedError("a subquery in FROM is not offered yet", *reference.at)
        table = find_table(self._catalog, reference.parts, reference.at)
        scan = typed.Scan(next(self._numbers), table)
        named = Named(scan, reference.alias)
        self._check_alias(named, reference)
        self._tables.append(named)
        return scan, Scope([named], []).columns_of(named)

    def _check_alias(self, named: Named, reference: tree.TableName) -> None:
        taken = {table.shown.lower() for table in self._tables}
        if named.shown.lower() in taken:
            reason = f"{named.shown} stands in FROM twice: give each its own alias"
            raise UnknownNameError(reason, *reference.at)

    def _join(self, join: tree.Join) -> tuple[typed.Source, list[Visible]]:
        left, left_columns = self._source(join.left)
        before = list(self._tables)
        right, right_columns = self._source(join.right)
        if join.natural or join.using:
            names = self._shared(join, left_columns, right_columns)
            condition, columns = _merge(join, names, left_columns, right_columns)
            return typed.Joined(join.kind, left, right, condition), columns
        if join.condition is None:
            raise AdqlSyntaxError("JOIN needs ON or USING", *join.at)
        columns = left_columns + right_columns
        # ON sees the tables of its own join only, not those before a comma.
        own = _numbers_in(left)
        tables = [t for t in before if t.scan.source in own] + self._tables[len(before) :]
        resolver = Resolver(Scope(tables, columns), no_aggregates="may not stand in ON")
        return typed.Joined(join.kind, left, right, resolver.condition(join.condition)), columns

    def _shared(
        self, join: tree.Join, left: list[Visible], right: list[Visible]
    ) -> list[tree.Name]:
        if join.using:
            return list(join.using)
        theirs = {column.field.name for column in right}
        both = [column.field.name for column in left if column.field.name in theirs]
        return [tree.Name(name, True, join.at) for name in both]

    def _outputs(
        self, scope: Scope
    ) -> tuple[tuple[typed.Output, ...], dict[str, typed.Expression]]:
        resolver = Resolver(scope)
        found: list[tuple[typed.Expression, tree.Name | None, tree.Value | None]] = []
        for item in self._select.items:
            if isinstance(item, tree.SelectAll):
                table = scope.get_table(item.qualifier) if item.qualifier else None
                visible = scope.columns_of(table) if table else scope.columns
                found += [(column.expression, None, None) for column in visible]
            else:
                found.append((resolver.value(item.value), item.alias, item.value))
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
        outputs: tuple[typed.Output, ...],
        aliases: dict[str, typed.Expression],
    ) -> tuple[typed.OrderKey, ...]:
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
            keys.append(typed.OrderKey(expression, term.descending, place))
        return tuple(keys)

    def _position(self, value: tree.Value, outputs: tuple[typed.Output, ...]) -> int | None:
        """The output column that an ordinal or the name of an output means."""
        if isinstance(value, tree.Number) and isinstance(value.value, int):
            if not 1 <= value.value <= len(outputs):
                reason = f"ORDER BY {value.value}: the query has {len(outputs)} columns"
                raise AdqlTypeError(reason, *value.at)
            return value.value - 1
        if not (isinstance(value, tree.ColumnRef) and len(value.parts) == 1):
            return None
        name = value.parts[0]
        items = self._select.items
        if any(isinstance(item, tree.SelectAll) for item in items):
            return None
        for place, item in enumerate(cast(tuple[tree.SelectItem, ...], items)):
            if item.alias is not None and matches(name, item.alias.text):
                return place
        return None


def _check_tables(references: tuple[tree.TableReference, ...]) -> None:
    """Counts without recursion: a chain of joins is as deep as it is long."""
    left, count = list(references), 0
    while left:
        reference = left.pop()
        if isinstance(reference, tree.Join):
            left += [reference.left, reference.right]
        else:
            count += 1
    if count > _MAX_TABLES:
        raise LimitError("tables in one FROM", count, _MAX_TABLES)


def _numbers_in(source: typed.Source) -> set[int]:
    if isinstance(source, typed.Scan):
        return {source.source}
    return _numbers_in(source.left) | _numbers_in(source.right)


def _merge(
    join: tree.Join, names: list[tree.Name], left: list[Visible], right: list[Visible]
) -> tuple[typed.Condition | None, list[Visible]]:
    """USING: pairs of columns equal, each pair one column of the result (SQL-92, 7.5)."""
    tests: list[typed.Condition] = []
    merged: list[Visible] = []
    dropped: list[Visible] = []
    for name in names:
        ours, theirs = _one(name, left), _one(name, right)
        dropped += [ours, theirs]
        tests.append(typed.Comparison("=", ours.expression, theirs.expression))
        merged.append(Visible(ours.field, _merged(join.kind, ours, theirs)))
    rest = [column for column in left + right if not any(column is d for d in dropped)]
    if not tests:
        return None, merged + rest
    return (tests[0] if len(tests) == 1 else typed.Junction("AND", tuple(tests))), merged + rest


def _merged(kind: str, ours: Visible, theirs: Visible) -> typed.Expression:
    if kind == "FULL":
        pair = (ours.expression, theirs.expression)
        return typed.Function("COALESCE", pair, ours.field.kind)
    return theirs.expression if kind == "RIGHT" else ours.expression


def _one(name: tree.Name, columns: list[Visible]) -> Visible:
    found = [column for column in columns if matches(name, column.field.name)]
    if len(found) == 1:
        return found[0]
    reason = "is ambiguous" if found else "is not on both sides of the join"
    raise UnknownNameError(f"column {name.text} {reason}", *name.at)

"""The SQL of queries: SELECT, FROM, set operators, WITH.

Subqueries name their columns ``c1``, ``c2`` …; a geometry that travels as numbers is ``c2_1``,
``c2_2`` …. When the query around a subquery needs a further column of a row in it (a key for an
index, the polygon beside a region), the subquery hands it on under a name of its own (``h1``);
therefore what stands in FROM is written last, and the queries of WITH after everything.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Final

from app.adql import typed
from app.adql.columns import numbers_of
from app.adql.relations import (
    Derived,
    Joined,
    NamedQuery,
    NamedScan,
    Output,
    Query,
    Scan,
    SetQuery,
    Source,
)
from app.adql.typed import Expression
from app.errors import LimitError

_MAX_SQL: Final = 2_000_000

Further = dict[tuple[str, str], str]
"""(column of a subquery, column beside it) -> the name it is handed on by."""


class StatementWriter(ABC):
    """Writes queries; what values and conditions look like is for those who inherit."""

    def __init__(self) -> None:
        self._further: dict[str, Further] = {}
        self._owners: dict[int, str] = {}

    def statement(self, query: Query, limit: int) -> str:
        """The whole statement; ``limit`` is the greatest number of its rows."""
        self._register(query)
        columns = [
            f"{self.shown(output.expression)} AS c{number}"
            for number, output in enumerate(query.outputs, 1)
        ]
        body = self._select(query, columns, limit, [[n] for n in range(1, len(columns) + 1)])
        return self.bounded(self._with(query.named) + body)

    def _with(self, named: Sequence[NamedQuery]) -> str:
        written = []
        for item in reversed(named):
            name = f"w{item.number}"
            written.append(f"{name} AS ({self.subquery(item.query, name)})")
        return f"WITH {', '.join(reversed(written))} " if written else ""

    def subquery(self, query: Query, owner: str = "") -> str:
        """A query inside another; ``owner`` is the name by which further columns are asked."""
        self._register(query)
        columns, places = self._columns(query.outputs)
        for (via, beside), name in self._further.get(owner, {}).items():
            carried = query.outputs[int(via[1:].partition("_")[0]) - 1].expression
            columns.append(f"{self.physical(_part(carried, via), beside)} AS {name}")
        return self._select(query, columns, query.top, places)

    def _columns(self, outputs: Sequence[Output]) -> tuple[list[str], list[list[int]]]:
        """The columns of a subquery, and the places of each output."""
        columns: list[str] = []
        places = []
        for number, output in enumerate(outputs, 1):
            parts = numbers_of(output.expression)
            places.append([len(columns) + 1 + part for part in range(len(parts or "1"))])
            if parts is None:
                columns.append(f"{self.handed_on(output.expression)} AS c{number}")
            for part_number, part in enumerate(parts or (), 1):
                columns.append(f"{self.real(part)} AS c{number}_{part_number}")
        return columns, places

    def _select(
        self, query: Query, columns: list[str], limit: int | None, places: list[list[int]]
    ) -> str:
        tests: dict[int, str] = {}
        for source in query.sources:
            self._write_tests(source, tests)
        clauses, order = self._clauses(query), self._order(query, places)
        parts = [
            f"SELECT {'DISTINCT ' if query.distinct else ''}{', '.join(columns)}",
            "FROM " + ", ".join(self._source(source, tests) for source in query.sources),
            *clauses,
        ]
        rows = " ".join(parts)
        if query.distinct and order:
            rows = self.distinct_to_order(rows)
        return " ".join(filter(None, (rows, order, self.cut(limit, query.offset or 0))))

    def _register(self, query: Query) -> None:
        """Note whose columns the numbers of FROM mean, before any of them is written."""
        left = list(query.sources)
        while left:
            source = left.pop()
            if isinstance(source, Joined):
                left += [source.left, source.right]
            elif isinstance(source, NamedScan):
                self._owners[source.source] = f"w{source.named.number}"
            else:
                self._owners[source.source] = f"t{source.source}"

    def _clauses(self, query: Query) -> list[str]:
        clauses = []
        if query.where is not None:
            clauses.append(f"WHERE {self.condition(query.where, True)}")
        if query.group_by:
            clauses.append("GROUP BY " + ", ".join(map(self.value, query.group_by)))
        if query.having is not None:
            clauses.append(f"HAVING {self.condition(query.having, True)}")
        return clauses

    def _order(self, query: Query, places: list[list[int]]) -> str:
        keys = []
        for key in query.order_by:
            # NULLs stand where PostgreSQL puts them by default: behind everything.
            direction = "DESC NULLS FIRST" if key.descending else "ASC NULLS LAST"
            if key.output is None:
                if key.expression.kind != "null":  # no order, and PostgreSQL refuses it
                    keys.append(f"{self.ordered(key.expression)} {direction}")
            else:
                keys += [f"{place} {direction}" for place in places[key.output]]
        return "ORDER BY " + ", ".join(keys) if keys else ""

    def _write_tests(self, source: Source, tests: dict[int, str]) -> None:
        """The conditions of joins, which may ask subqueries in FROM for further columns."""
        if isinstance(source, Joined):
            self._write_tests(source.left, tests)
            self._write_tests(source.right, tests)
            if source.condition is not None:
                tests[id(source)] = self.condition(source.condition, True)

    def _source(self, source: Source, tests: dict[int, str]) -> str:
        if isinstance(source, Scan):
            return f'"{source.table.physical}" AS t{source.source}'
        if isinstance(source, NamedScan):
            return f"w{source.named.number} AS t{source.source}"
        if isinstance(source, Derived):
            name = f"t{source.source}"
            inner = (
                self.set_query(source.query)
                if isinstance(source.query, SetQuery)
                else self.subquery(source.query, name)
            )
            return f"({inner}) AS {name}"
        return self._joined(source, tests)

    def _joined(self, join: Joined, tests: dict[int, str]) -> str:
        left, right = self._source(join.left, tests), self._source(join.right, tests)
        if isinstance(join.right, Joined):
            right = f"({right})"
        if join.condition is None and join.kind == "INNER":
            return f"{left} CROSS JOIN {right}"
        test = tests.get(id(join), "1 = 1")
        if join.kind == "FULL":
            test = self.full_join_test(join, test)
        return f"{left} {join.kind} JOIN {right} ON {test}"

    def set_query(self, query: SetQuery) -> str:
        """Set operators from the left; each operand has its own order and cut."""
        sql = self._operand(query.first)
        names = ", ".join(column_names(query.first.outputs))
        for word, every, operand in query.rest:
            sql = self.set_step(sql, word, every, self._operand(operand), names)
        return sql

    def _operand(self, query: Query) -> str:
        sql = self.subquery(query)
        is_plain = not query.order_by and not query.is_cut
        return sql if is_plain else f"SELECT * FROM ({sql}) AS s"

    def set_step(self, left: str, word: str, every: bool, right: str, names: str) -> str:
        """``left UNION [ALL] right`` and its like; ``names`` are the columns of both."""
        return f"{left} {word}{' ALL' if every else ''} {right}"

    def distinct_to_order(self, sql: str) -> str:
        """A SELECT DISTINCT as it is written before an ORDER BY of places."""
        return sql

    def full_join_test(self, join: Joined, test: str) -> str:
        """The condition of a FULL JOIN as the engine takes it."""
        return test

    def scalar(self, query: Query) -> str:
        """A query as a value; an error of the data if it has more than one row."""
        return f"({self.subquery(query)})"

    def physical(self, column: typed.Column, name: str | None = None) -> str:
        """A column, or the column ``name`` beside it in its table, as SQL."""
        wanted = name or column.field.physical
        if not column.via:
            return f't{column.source}."{wanted}"'
        if wanted == column.base:
            return f"t{column.source}.{column.via}"
        further = self._further.setdefault(self._owners[column.source], {})
        name = further.setdefault((column.via, wanted), f"h{len(further) + 1}")
        return f"t{column.source}.{name}"

    def bounded(self, sql: str) -> str:
        """The text itself, unless functions in functions have blown it up."""
        if len(sql) > _MAX_SQL:
            raise LimitError("the size of a compiled query", len(sql), _MAX_SQL)
        return sql

    @abstractmethod
    def cut(self, limit: int | None, offset: int) -> str:
        """LIMIT and OFFSET; empty for all rows."""

    @abstractmethod
    def value(self, expression: Expression) -> str:
        """SQL of a value."""

    @abstractmethod
    def condition(self, condition: typed.Condition, is_positive: bool) -> str:
        """SQL of a condition. ``is_positive``: no NOT stands above, so that only the rows for
        which it is true matter, and whether others give false or NULL does not."""

    @abstractmethod
    def shown(self, expression: Expression) -> str:
        """A value as a column of the answer."""

    @abstractmethod
    def handed_on(self, expression: Expression) -> str:
        """A value as a column of a subquery."""

    @abstractmethod
    def ordered(self, expression: Expression) -> str:
        """A value that is put in order: text by code point."""

    @abstractmethod
    def real(self, expression: Expression) -> str:
        """A number as a double."""


def _part(expression: Expression, via: str) -> typed.Column:
    """The column that a subquery hands on as ``via``: an output or one of its numbers."""
    part = via.partition("_")[2]
    if part:
        expression = (numbers_of(expression) or ())[int(part) - 1]
    if not isinstance(expression, typed.Column):
        raise AssertionError(f"{via} is no column")
    return expression


def column_names(outputs: Sequence[Output]) -> list[str]:
    """The columns of a subquery by name."""
    names = []
    for number, output in enumerate(outputs, 1):
        parts = numbers_of(output.expression)
        if parts is None:
            names.append(f"c{number}")
        names += [f"c{number}_{part}" for part in range(1, len(parts or ()) + 1)]
    return names

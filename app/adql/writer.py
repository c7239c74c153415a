"""What the SQL of both engines has in common.

Statements hold our own words, numbered aliases (``t1``), quoted names of the catalog and binds;
nothing of the user's text gets in.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import singledispatchmethod

from app.adql import typed
from app.adql.typed import Expression
from app.errors import LimitError

Bound = str | int | float

_MAX_BINDS = 30_000
_MAX_SQL = 2_000_000
_BALANCED = 32


class SqlWriter(ABC):
    """Writes one typed query. A dialect says how its values and tests look."""

    def __init__(self, prefixes: Mapping[str, str]) -> None:
        self.binds: dict[str, Bound] = {}
        self._names: dict[tuple[type, Bound], str] = {}
        self._prefixes = prefixes

    def query(self, query: typed.TypedQuery, limit: int) -> str:
        """The whole statement."""
        columns = ", ".join(
            f"{self.shown(output.expression)} AS c{number}"
            for number, output in enumerate(query.outputs, 1)
        )
        parts = [
            f"SELECT {'DISTINCT ' if query.distinct else ''}{columns}",
            "FROM " + ", ".join(self._source(source) for source in query.sources),
            *self._clauses(query),
            f"LIMIT {limit:d}",
        ]
        if query.offset:
            parts.append(f"OFFSET {query.offset:d}")
        return self.bounded(" ".join(parts))

    def _clauses(self, query: typed.TypedQuery) -> list[str]:
        clauses = []
        if query.where is not None:
            clauses.append(f"WHERE {self.condition(query.where, True)}")
        if query.group_by:
            clauses.append("GROUP BY " + ", ".join(map(self.value, query.group_by)))
        if query.having is not None:
            clauses.append(f"HAVING {self.condition(query.having, True)}")
        if query.order_by:
            clauses.append("ORDER BY " + ", ".join(map(self._order_key, query.order_by)))
        return clauses

    def _order_key(self, key: typed.OrderKey) -> str:
        # NULLs stand where PostgreSQL puts them by default: behind everything.
        direction = "DESC NULLS FIRST" if key.descending else "ASC NULLS LAST"
        if key.output is not None:
            return f"{key.output + 1} {direction}"
        return f"{self.ordered(key.expression)} {direction}"

    def _source(self, source: typed.Source) -> str:
        if isinstance(source, typed.Scan):
            return f'"{source.table.physical}" AS t{source.source}'
        left, right = self._source(source.left), self._source(source.right)
        if isinstance(source.right, typed.Joined):
            right = f"({right})"
        if source.condition is None and source.kind == "INNER":
            return f"{left} CROSS JOIN {right}"
        test = "1 = 1" if source.condition is None else self.condition(source.condition, True)
        return f"{left} {source.kind} JOIN {right} ON {test}"

    def bind(self, value: Bound) -> str:
        """The placeholder of a value; equal values share one."""
        key = (type(value), value)
        if key not in self._names:
            if len(self.binds) >= _MAX_BINDS:
                raise LimitError("constants in a query", f"more than {_MAX_BINDS}", _MAX_BINDS)
            name = f"p{len(self._names) + 1}"
            self._names[key] = name
            self.binds[name] = value
        return f":{self._names[key]}"

    def bounded(self, sql: str) -> str:
        """The text itself, unless functions in functions have blown it up."""
        if len(sql) > _MAX_SQL:
            raise LimitError("the size of a compiled query", len(sql), _MAX_SQL)
        return sql

    def physical(self, column: typed.Column, name: str | None = None) -> str:
        """A column of a table as SQL."""
        return f't{column.source}."{name or column.field.name}"'

    def prefix(self, name: str) -> str:
        """The placeholder of a prefix that the caller supplies."""
        self.binds[name] = self._prefixes.get(name, "")
        return f":{name}"

    @singledispatchmethod
    def value(self, expression: Expression) -> str:
        """SQL of a value."""
        raise AssertionError(f"no SQL for {type(expression).__name__}")

    @value.register
    def _(self, expression: typed.Column) -> str:
        return self.column(expression)

    @value.register
    def _(self, expression: typed.Literal) -> str:
        return self.literal(expression)

    @value.register
    def _(self, expression: typed.Negative) -> str:
        return f"(- {self.operand(expression.operand)})"

    @value.register
    def _(self, expression: typed.Arithmetic) -> str:
        return self.arithmetic(expression)

    @value.register
    def _(self, expression: typed.Concatenation) -> str:
        return "(" + " || ".join(map(self.text, expression.parts)) + ")"

    @value.register
    def _(self, expression: typed.Function) -> str:
        return self.bounded(self.function(expression))

    @value.register
    def _(self, expression: typed.Aggregate) -> str:
        return self.aggregate(expression)

    @value.register
    def _(self, expression: typed.PointOf) -> str:
        return self.shape_text((expression.lon, expression.lat))

    @value.register
    def _(self, expression: typed.CircleOf) -> str:
        return self.shape_text((expression.lon, expression.lat, expression.radius))

    @value.register
    def _(self, expression: typed.PolygonOf) -> str:
        return self.shape_text(expression.coordinates)

    @value.register
    def _(self, expression: typed.Constant) -> str:
        return self.constant_text(expression)

    @value.register
    def _(self, expression: typed.Spatial) -> str:
        return self.bounded(self.spatial_value(expression))

    @value.register
    def _(self, expression: typed.Separation) -> str:
        return self.separation(expression)

    @value.register
    def _(self, expression: typed.RegionSize) -> str:
        return self.region_size(expression)

    @value.register
    def _(self, expression: typed.RegionDistance) -> str:
        return self.region_distance(expression)

    @singledispatchmethod
    def condition(self, condition: typed.Condition, is_positive: bool) -> str:
        """SQL of a condition. ``is_positive``: no NOT stands above, so that only the rows for
        which it is true matter, and whether others give false or NULL does not."""
        raise AssertionError(f"no SQL for {type(condition).__name__}")

    @condition.register
    def _(self, condition: typed.Junction, is_positive: bool) -> str:
        terms = [self.condition(term, is_positive) for term in condition.terms]
        return _balanced(terms, condition.word)

    @condition.register
    def _(self, condition: typed.Not, is_positive: bool) -> str:
        inner = condition.term
        if isinstance(inner, typed.IsNull):
            return f"({self.value(inner.operand)} IS NOT NULL)"
        return f"(NOT {self.condition(inner, False)})"

    @condition.register
    def _(self, condition: typed.Comparison, is_positive: bool) -> str:
        left, right = self.compared(condition.left), self.compared(condition.right)
        if condition.operator not in ("=", "<>"):
            left = self.ordered(condition.left)
        return f"({left} {condition.operator} {right})"

    @condition.register
    def _(self, condition: typed.Between, is_positive: bool) -> str:
        operand = self.ordered(condition.operand)
        low, high = self.compared(condition.low), self.compared(condition.high)
        return f"({operand} BETWEEN {low} AND {high})"

    @condition.register
    def _(self, condition: typed.InList, is_positive: bool) -> str:
        items = ", ".join(map(self.compared, condition.items))
        return f"({self.compared(condition.operand)} IN ({items}))"

    @condition.register
    def _(self, condition: typed.IsNull, is_positive: bool) -> str:
        return f"({self.value(condition.operand)} IS NULL)"

    @condition.register
    def _(self, condition: typed.Like, is_positive: bool) -> str:
        return self.like(condition)

    @condition.register
    def _(self, condition: typed.SpatialTest, is_positive: bool) -> str:
        return self.spatial_test(condition.spatial, is_positive)

    @condition.register
    def _(self, condition: typed.Cone, is_positive: bool) -> str:
        return self.cone(condition, is_positive)

    def text(self, expression: Expression) -> str:
        """A value where a string must stand."""
        return self.value(expression)

    def compared(self, expression: Expression) -> str:
        """A value beside a comparison."""
        return self.value(expression)

    def operand(self, expression: Expression) -> str:
        """A value beside a sign of arithmetic."""
        return self.value(expression)

    def column(self, column: typed.Column) -> str:
        """A column, with the prefix its values leave with."""
        if column.field.prefix_bind is None:
            return self.physical(column)
        return f"({self.prefix(column.field.prefix_bind)} || {self.physical(column)})"

    @abstractmethod
    def shown(self, expression: Expression) -> str:
        """A value as a column of the answer."""

    @abstractmethod
    def ordered(self, expression: Expression) -> str:
        """A value that is put in order: text by code point."""

    @abstractmethod
    def literal(self, literal: typed.Literal) -> str:
        """A constant."""

    @abstractmethod
    def arithmetic(self, chain: typed.Arithmetic) -> str:
        """A chain of + - * /."""

    @abstractmethod
    def function(self, function: typed.Function) -> str:
        """A function; NULL outside its domain."""

    @abstractmethod
    def aggregate(self, aggregate: typed.Aggregate) -> str:
        """An aggregate."""

    @abstractmethod
    def like(self, like: typed.Like) -> str:
        """LIKE, which heeds case, or ILIKE, which folds a to z."""

    @abstractmethod
    def shape_text(self, numbers: Sequence[Expression]) -> str:
        """DALI text of a geometry."""

    @abstractmethod
    def constant_text(self, constant: typed.Constant) -> str:
        """DALI text of a constant geometry."""

    @abstractmethod
    def spatial_value(self, spatial: typed.Spatial) -> str:
        """1, 0 or NULL."""

    @abstractmethod
    def spatial_test(self, spatial: typed.Spatial, is_positive: bool) -> str:
        """A spatial relation as a condition."""

    @abstractmethod
    def separation(self, separation: typed.Separation) -> str:
        """A distance in degrees."""

    @abstractmethod
    def region_distance(self, distance: typed.RegionDistance) -> str:
        """A distance in degrees from a region column."""

    @abstractmethod
    def cone(self, cone: typed.Cone, is_positive: bool) -> str:
        """``distance < radius`` as a condition."""

    @abstractmethod
    def region_size(self, size: typed.RegionSize) -> str:
        """A surface in square degrees."""


def _balanced(terms: Sequence[str], word: str) -> str:
    """The terms joined; long lists as a tree, since SQLite bounds the depth of expressions."""
    if len(terms) <= _BALANCED:
        return "(" + f" {word} ".join(terms) + ")"
    middle = len(terms) // 2
    return f"({_balanced(terms[:middle], word)} {word} {_balanced(terms[middle:], word)})"

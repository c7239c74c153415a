"""The SQL of PostgreSQL 15.

PostgreSQL raises where SQLite gives NULL; every partial function is therefore written with its
domain around it. Whole numbers are reckoned as ``numeric`` and brought back to ``bigint`` at the
end, so that no step of a formula can overflow.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from app.adql import typed
from app.adql.arithmetic import SUM_SCALE, may_overflow, steps_of
from app.adql.kinds import ValueKind, is_text
from app.adql.postgres_guards import guarded, in_range
from app.adql.postgres_spatial import PostgresSpatial
from app.adql.relations import Joined, NamedScan, Scan, SetQuery, Source
from app.adql.statements import column_names
from app.adql.typed import Expression
from app.adql.user_functions import USER_SQL
from app.adql.walk import has_aggregate

_EXP_MAX = "709.782712893384"
_EXP_MIN = "-745.2"

_TYPES: Final = {int: "bigint", float: "double precision", str: "text"}

_DOMAINS: Final[dict[str, str]] = {
    "DEGREES": "CASE WHEN abs({0}) <= 3.1e306 THEN degrees({0}) END",
    "RADIANS": "CASE WHEN abs({0}) < 1e-300 THEN 0 ELSE radians({0}) END",
    "ACOS": "CASE WHEN {0} BETWEEN -1 AND 1 THEN acos({0}) END",
    "ASIN": "CASE WHEN {0} BETWEEN -1 AND 1 THEN asin({0}) END",
    "EXP": (
        f"CASE WHEN {{0}} > {_EXP_MAX} THEN NULL WHEN {{0}} < {_EXP_MIN} THEN 0 ELSE exp({{0}}) END"
    ),
    "LOG": "CASE WHEN {0} > 0 THEN ln({0}) END",
    "LOG10": "CASE WHEN {0} > 0 THEN log({0}) END",
    "POWER": (
        "CASE WHEN {0} = 0 THEN CASE WHEN {1} = 0 THEN 1 WHEN {1} > 0 THEN 0 END"
        " WHEN {0} < 0 AND {1} <> trunc({1}) THEN NULL"
        f" WHEN {{1}} * ln(abs({{0}})) > {_EXP_MAX} THEN NULL"
        f" WHEN {{1}} * ln(abs({{0}})) < {_EXP_MIN} THEN 0"
        " ELSE power({0}, {1}) END"
    ),
    "SQRT": "CASE WHEN {0} >= 0 THEN sqrt({0}) END",
}
"""Functions that raise outside their domain; their arguments are written more than once."""

_TOTAL: Final[dict[str, str]] = {
    "ATAN": "atan({0})",
    "ATAN2": "atan2({0}, {1})",
    "CEILING": "ceil({0})",
    "COS": "cos({0})",
    "COT": "(1 / NULLIF(tan({0}), 0))",
    "FLOOR": "floor({0})",
    "SIN": "sin({0})",
    "TAN": "tan({0})",
}

_NUMERIC: Final[dict[str, str]] = {
    "MOD": "mod({0}, NULLIF({1}, 0))",
    "ROUND": "round({0}, {1})",
    "TRUNCATE": "trunc({0}, {1})",
}
"""Functions that PostgreSQL offers for numeric only."""


class PostgresWriter(PostgresSpatial):
    """Writes for PostgreSQL."""

    def shown(self, expression: Expression) -> str:
        sql = self.value(expression)
        if expression.kind == "null":
            return f"CAST({sql} AS text)"
        if expression.kind != "integer" or not _is_numeric(expression):
            return sql
        return f"CAST({sql} AS bigint)"

    def handed_on(self, expression: Expression) -> str:
        # Text leaves a subquery with the order of the store's own columns.
        is_text = expression.kind in ("text", "timestamp")
        return self.ordered(expression) if is_text else self.shown(expression)

    def cut(self, limit: int | None, offset: int) -> str:
        parts = [] if limit is None else [f"LIMIT {limit:d}"]
        return " ".join([*parts, f"OFFSET {offset:d}"] if offset else parts)

    def full_join_test(self, join: Joined, test: str) -> str:
        # PostgreSQL wants an equality of the two sides that it can hash: one that is always true
        # stands for it.
        left, right = (f"num_nulls({self._any_column(s)}) * 0" for s in (join.left, join.right))
        return f"{left} = {right} AND {test}"

    def _any_column(self, source: Source) -> str:
        while isinstance(source, Joined):
            source = source.left
        if isinstance(source, Scan):
            return f't{source.source}."{source.table.fields[0].physical}"'
        query = source.named.query if isinstance(source, NamedScan) else source.query
        outputs = query.first.outputs if isinstance(query, SetQuery) else query.outputs
        return f"t{source.source}.{column_names(outputs)[0]}"

    def ordered(self, expression: Expression) -> str:
        sql = self.compared(expression)
        # The text columns of the store carry the collation already, and their indexes with it.
        plain = isinstance(expression, typed.Column) or expression.kind not in ("text", "timestamp")
        return sql if plain else f'({sql}) COLLATE "C"'

    def literal(self, literal: typed.Literal) -> str:
        if literal.value is None:
            kinds = {"integer": "bigint", "real": "double precision", "text": "text"}
            return f"CAST(NULL AS {kinds[literal.kind]})" if literal.kind in kinds else "NULL"
        return f"CAST({self.bind(literal.value)} AS {_TYPES[type(literal.value)]})"

    def prefix(self, name: str) -> str:
        return f"CAST({super().prefix(name)} AS text)"

    def as_kind(self, expression: Expression, kind: ValueKind) -> str:
        if expression.kind == "null" and kind == "integer":
            return "CAST(NULL AS bigint)"
        return super().as_kind(expression, kind)

    def text(self, expression: Expression) -> str:
        return "CAST(NULL AS text)" if expression.kind == "null" else self.value(expression)

    def operand(self, expression: Expression) -> str:
        return self._numeric(expression) if expression.kind == "integer" else self.real(expression)

    def arithmetic(self, chain: typed.Arithmetic) -> str:
        whole, steps = steps_of(chain)
        sql = self._numeric(chain.first) if whole else self.real(chain.first)
        for step in steps:
            if whole and not step.is_whole:
                sql = f"CAST({sql} AS double precision)"
            whole = step.is_whole
            right = self._numeric(step.operand) if whole else self.real(step.operand)
            if whole and step.operator == "/":
                sql = f"div({sql}, NULLIF({right}, 0))"
            elif whole or step.is_safe:
                divisor = f"NULLIF({right}, 0)" if step.operator == "/" else right
                sql = f"({sql} {step.operator} {divisor})"
                sql = sql if step.is_safe else in_range(sql)
            else:
                sql = self.bounded(guarded(step.operator, sql, right, has_aggregate(chain)))
        return sql

    def real(self, expression: Expression) -> str:
        """A number as double precision."""
        if expression.kind == "null":
            return "CAST(NULL AS double precision)"
        if isinstance(expression, typed.Literal) and isinstance(expression.value, int):
            return self._double(float(expression.value))
        sql = self.value(expression)
        return sql if expression.kind == "real" else f"CAST({sql} AS double precision)"

    def _numeric(self, expression: Expression) -> str:
        """A whole number as numeric."""
        if expression.kind == "null":
            return "CAST(NULL AS numeric)"
        sql = self.value(expression)
        return sql if _is_numeric(expression) else f"CAST({sql} AS numeric)"

    def function(self, function: typed.Function) -> str:
        name, arguments = function.name, function.arguments
        user = USER_SQL.get((name, len(arguments)))
        if user is not None:
            return user.postgres.format(*map(self._plain, arguments))
        if name in _DOMAINS:
            return "(" + _DOMAINS[name].format(*map(self.real, arguments)) + ")"
        if name in _TOTAL:
            return _TOTAL[name].format(*map(self.real, arguments))
        if name in _NUMERIC:
            return self._numeric_function(function)
        writers: dict[str, Callable[[typed.Function], str]] = {
            "ABS": lambda f: f"abs({self.operand(f.arguments[0])})",
            "COALESCE": self._coalesce,
            "LOWER": lambda f: f'lower({self.text(f.arguments[0])} COLLATE "C")',
            "RAND": lambda f: "random()",
            "ivo_nocasematch": self._nocasematch,
            "UPPER": lambda f: f'upper({self.text(f.arguments[0])} COLLATE "C")',
        }
        return writers[name](function)

    def _nocasematch(self, function: typed.Function) -> str:
        value, pattern = function.arguments
        return f"CAST({self.like(typed.Like(value, pattern, True))} AS integer)"

    def _plain(self, argument: Expression) -> str:
        """An argument of a user function: text, or a number as double precision; NULL takes the
        type that the function asks for."""
        if argument.kind == "null":
            return "NULL"
        return self.text(argument) if is_text(argument.kind) else self.real(argument)

    def _numeric_function(self, function: typed.Function) -> str:
        name, first = function.name, function.arguments[0]
        if name == "MOD" and function.kind == "integer":
            pair = map(self._numeric, function.arguments)
            return _NUMERIC[name].format(*pair)
        if name == "MOD":
            second = f"CAST({self.real(function.arguments[1])} AS numeric)"
        else:
            places = function.arguments[-1] if len(function.arguments) == 2 else None
            second = f"{places.value:d}" if isinstance(places, typed.Literal) else "0"
        inner = _NUMERIC[name].format(f"CAST({self.real(first)} AS numeric)", second)
        return f"CAST({inner} AS double precision)"

    def _coalesce(self, function: typed.Function) -> str:
        writers: dict[str, Callable[[Expression], str]] = {
            "integer": self._numeric if _is_numeric(function) else self.value,
            "real": self.real,
            "text": self.text,
        }
        write = writers.get(function.kind, self.value)
        return f"COALESCE({', '.join(map(write, function.arguments))})"

    def aggregate(self, aggregate: typed.Aggregate) -> str:
        argument = aggregate.argument
        if argument is None:
            return "count(*)"
        distinct = "DISTINCT " if aggregate.distinct else ""
        sql = distinct + (self.real(argument) if argument.kind == "null" else self.value(argument))
        if aggregate.name == "AVG" and argument.kind == "integer":
            return f"(CAST(sum({sql}) AS double precision) / NULLIF(count({sql}), 0))"
        if aggregate.name == "SUM" and argument.kind == "integer":
            return in_range(f"sum({sql})")
        if aggregate.name == "SUM" and may_overflow(argument):
            scale = f"CAST({SUM_SCALE!r} AS double precision)"
            return self.bounded(guarded("*", f"sum({sql} / {scale})", scale, True))
        if aggregate.name == "STRING_AGG":
            text = self.text(argument)
            separator = f"CAST({self.bind(aggregate.separator)} AS text)"
            return f'string_agg({text}, {separator} ORDER BY ({text}) COLLATE "C")'
        if aggregate.name in ("MIN", "MAX") and argument.kind in ("text", "timestamp"):
            sql = distinct + self.ordered(argument)
        return f"{aggregate.name.lower()}({sql})"

    def like(self, like: typed.Like) -> str:
        operand, pattern = self.text(like.operand), self.text(like.pattern)
        if like.folded:
            operand, pattern = f'lower({operand} COLLATE "C")', f'lower({pattern} COLLATE "C")'
        return f"({operand} LIKE {pattern} ESCAPE '')"


def _is_numeric(expression: Expression) -> bool:
    """Whether the SQL of a whole number has the type numeric rather than bigint."""
    if isinstance(expression, typed.Arithmetic | typed.Negative):
        return True
    if isinstance(expression, typed.Aggregate):
        if expression.name == "SUM":
            return True
        argument = expression.argument
        return expression.name != "COUNT" and argument is not None and _is_numeric(argument)
    if isinstance(expression, typed.Function):
        if expression.name == "COALESCE":
            return any(map(_is_numeric, expression.arguments))
        return expression.name in ("ABS", "MOD")
    return False

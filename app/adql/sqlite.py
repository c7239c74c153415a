"""The SQL of SQLite, with the functions of :mod:`app.adql.sqlite_functions`."""

from __future__ import annotations

from app.adql import typed
from app.adql.arithmetic import SUM_SCALE, may_overflow, steps_of
from app.adql.relations import Query, SetQuery
from app.adql.sqlite_functions import MATHEMATICS, mathematics_name
from app.adql.sqlite_spatial import SqliteSpatial
from app.adql.statements import column_names
from app.adql.typed import Expression
from app.adql.user_functions import USER_SQL

# 53 random bits: random() has 64, of which the sign takes one.
_RANDOM = "(((random() >> 11) + 4503599627370496) / 9007199254740992.0)"

_GLOB = (("[", "[[]"), ("*", "[*]"), ("?", "[?]"), ("%", "*"), ("_", "?"))
"""LIKE's pattern as GLOB's, which heeds case: first its own signs, then the wildcards."""


class SqliteWriter(SqliteSpatial):
    """Writes for SQLite 3.39 and later."""

    def shown(self, expression: Expression) -> str:
        return self.value(expression)

    def handed_on(self, expression: Expression) -> str:
        return self.shown(expression)

    def cut(self, limit: int | None, offset: int) -> str:
        if limit is None and not offset:
            return ""
        cut = f"LIMIT {-1 if limit is None else limit:d}"
        return f"{cut} OFFSET {offset:d}" if offset else cut

    def set_step(self, left: str, word: str, every: bool, right: str, names: str) -> str:
        if not every or word == "UNION":
            return super().set_step(left, word, every, right, names)
        # SQLite has no ALL here: rows are told apart by numbering the equal ones.
        numbered = [
            f"SELECT {names}, row_number() OVER (PARTITION BY {names}) AS n FROM ({side})"
            for side in (left, right)
        ]
        return f"SELECT {names} FROM ({numbered[0]} {word} {numbered[1]})"

    def set_query(self, query: SetQuery) -> str:
        sql = super().set_query(query)
        if not all(every and word == "UNION" for word, every, _ in query.rest):
            return sql
        # SQLite 3.40 merges such a query into the one around it and then gives rows of a RIGHT or
        # FULL JOIN twice; it does not where an operand has no FROM.
        nothing = ", ".join("NULL" for _ in column_names(query.first.outputs))
        return f"{sql} UNION ALL SELECT {nothing} WHERE 0"

    def distinct_to_order(self, sql: str) -> str:
        # SQLite 3.40 loses NULL where it skips along an index to the next value in such an order.
        return f"SELECT * FROM ({sql})"

    def scalar(self, query: Query) -> str:
        if query.has_one_row:
            return super().scalar(query)
        # SQLite would take the first of many rows; json_extract() complains of its second argument.
        complaint = "json_extract('{}', substr('more than one row', 1, count(*) + 99))"
        value = f"CASE WHEN count(*) > 1 THEN {complaint} ELSE max(c1) END"
        return f"(SELECT {value} FROM (SELECT c1 FROM ({self.subquery(query)}) LIMIT 2))"

    def real(self, expression: Expression) -> str:
        if expression.kind != "integer":
            return self.value(expression)
        if isinstance(expression, typed.Literal) and isinstance(expression.value, int):
            return self.bind(float(expression.value))
        return f"CAST({self.value(expression)} AS REAL)"

    def ordered(self, expression: Expression) -> str:
        return self.value(expression)

    def literal(self, literal: typed.Literal) -> str:
        return "NULL" if literal.value is None else self.bind(literal.value)

    def arithmetic(self, chain: typed.Arithmetic) -> str:
        """One flat sum: SQLite's parser does not take many parentheses in one another."""
        whole, steps = steps_of(chain)
        sql = self.value(chain.first) if whole else self.real(chain.first)
        in_range = True
        for step in steps:
            if whole and not step.is_whole:
                sql = f"CAST({_whole(sql, in_range)} AS REAL)"
            whole = step.is_whole
            right = self.value(step.operand) if whole else self.real(step.operand)
            sql += f" {step.operator} {f'NULLIF({right}, 0)' if step.operator == '/' else right}"
            if whole:
                in_range = in_range and step.is_safe
            elif not step.is_safe:
                sql = _finite(sql)
        return _whole(sql, in_range) if whole else f"({sql})"

    def function(self, function: typed.Function) -> str:
        name = function.name
        if name == "ivo_nocasematch":
            return self.like(typed.Like(function.arguments[0], function.arguments[1], True))
        # A mixture of numbers is written as doubles: SQLite divides by what it finds stored.
        write = self.real if name == "COALESCE" and function.kind == "real" else self.value
        arguments = [write(argument) for argument in function.arguments]
        user = USER_SQL.get((name, len(arguments)))
        if user is not None:
            return user.sqlite.format(*arguments)
        if name == "RAND":
            return _RANDOM
        if name == "MOD" and function.kind == "integer":
            return f"({arguments[0]} % NULLIF({arguments[1]}, 0))"
        if name == "COALESCE" and len(arguments) == 1:
            return arguments[0]
        if (name, len(arguments)) in MATHEMATICS:
            name = mathematics_name(name)
        return f"{name}({', '.join(arguments)})"

    def aggregate(self, aggregate: typed.Aggregate) -> str:
        if aggregate.argument is None:
            return "COUNT(*)"
        if aggregate.name == "STRING_AGG":
            separator = self.bind(aggregate.separator)
            return f"adql_string_agg({self.value(aggregate.argument)}, {separator})"
        argument, is_whole = aggregate.argument, aggregate.argument.kind in ("integer", "null")
        sql = self.value(argument)
        distinct = "DISTINCT " if aggregate.distinct else ""
        if aggregate.name == "SUM":
            if is_whole:
                return self._whole_sum(sql, aggregate.distinct)
            if may_overflow(argument):
                return _finite(f"sum({distinct}{sql} / {SUM_SCALE!r}) * {SUM_SCALE!r}")
        if aggregate.name == "AVG" and is_whole and not distinct:
            total = f"({_sum_of_halves(sql)})"
            return f"(CAST({total} AS REAL) / NULLIF(count({sql}), 0))"
        return f"{aggregate.name}({distinct}{sql})"

    def _whole_sum(self, sql: str, distinct: bool) -> str:
        if distinct:
            return f"adql_sum_of_list(json_group_array(DISTINCT {sql}))"
        return _whole(_sum_of_halves(sql), False)

    def like(self, like: typed.Like) -> str:
        operand = self.value(like.operand)
        if isinstance(like.pattern, typed.Literal) and isinstance(like.pattern.value, str):
            pattern = self.bind(_glob(like.pattern.value))
        else:
            pattern = self.value(like.pattern)
            for sign, replacement in _GLOB:
                pattern = f"replace({pattern}, '{sign}', '{replacement}')"
        if like.folded:
            operand, pattern = f"lower({operand})", f"lower({pattern})"
        return f"({operand} GLOB {pattern})"


def _glob(pattern: str) -> str:
    signs = dict(_GLOB)
    return "".join(signs.get(character, character) for character in pattern)


def _whole(sql: str, in_range: bool) -> str:
    """A whole number, NULL where SQLite went on with doubles because one was out of range."""
    return f"({sql})" if in_range else f"adql_integer({sql})"


def _finite(sql: str) -> str:
    """A double, NULL where it is infinite."""
    return f"NULLIF(NULLIF({sql}, 9e999), -9e999)"


def _sum_of_halves(sql: str) -> str:
    """SQLite's own sum() fails as soon as a part of it leaves the range: high and low halves are
    summed apart."""
    high, low = f"sum({sql} >> 32)", f"sum({sql} & 4294967295)"
    return f"({high} + ({low} >> 32)) * 4294967296 + ({low} & 4294967295)"

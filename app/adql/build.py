"""From the parser's reductions to the syntax tree, bottom up and without recursion."""

from __future__ import annotations

from typing import Any, cast

from lark import Token, Transformer, v_args

from app.adql import tree
from app.adql.arguments import make_call, require_plain
from app.adql.tree import At, Value
from app.errors import AdqlSyntaxError

_MAX_INTEGER = 2**63 - 1


def place(token: Token) -> At:
    """Where a token begins."""
    return At(token.line or 1, token.column or 1)


def _unquoted(token: Token) -> str:
    quote = token[0]
    return str(token[1:-1]).replace(quote * 2, quote)


def _integer(token: Token) -> int | None:
    """The value of digits, None where it is larger than an integer of ADQL. Python reads no
    thousands of digits."""
    digits = token.lstrip("0")
    value = int(digits or "0") if len(digits) < 20 else None
    return value if value is not None and value <= _MAX_INTEGER else None


def _whole(token: Token, what: str) -> int:
    value = _integer(token)
    if value is None:
        raise AdqlSyntaxError(f"{what} {token[:30]} is too large", *place(token))
    return value


@v_args(inline=True)
class TreeBuilder(Transformer[Token, tree.Query]):
    """One method a rule of ``adql.lark``; what a rule leaves out comes as None."""

    def start(self, ctes: Any, query: tree.Query) -> tree.Query:
        return tree.Query(query.body, query.order_by, query.offset, ctes or (), query.at)

    def with_clause(self, _with: Token, *items: tuple[tree.Name, tree.Query]) -> Any:
        return items

    def with_item(self, name: tree.Name, _as: Token, query: tree.Query) -> Any:
        return name, query

    def plain_query(self, body: tree.Body, order: Any, offset: int | None) -> tree.Query:
        return tree.Query(body, order or (), offset, (), body.at)

    ordered_subquery = plain_query

    def offset_subquery(self, body: tree.Body, offset: int) -> tree.Query:
        return tree.Query(body, (), offset, (), body.at)

    def set_chain(self, first: tree.Body, *rest: Any) -> tree.Body:
        steps = tuple((*rest[i], rest[i + 1]) for i in range(0, len(rest), 2))
        return tree.SetOperation(first, steps, first.at)

    intersection = set_chain

    def set_operator(self, word: Token, everything: Token | None) -> tuple[str, bool]:
        return str(word).upper(), everything is not None

    intersect_operator = set_operator

    def select(self, word: Token, quantifier: Any, top: int | None, *parts: Any) -> tree.Select:
        items, _from, tables, where, group_by, having = parts
        return tree.Select(
            quantifier == "DISTINCT",
            top,
            items,
            tables,
            where,
            group_by or (),
            having,
            place(word),
        )

    def quantifier(self, word: Token) -> str:
        return word.upper()

    def top(self, _top: Token, count: Token) -> int:
        return _whole(count, "TOP")

    def select_all(self, star: Token) -> Any:
        return (tree.SelectAll((), place(star)),)

    def select_list(self, *items: Any) -> Any:
        return items

    def select_item(self, value: Value, alias: tree.Name | None) -> tree.SelectItem:
        return tree.SelectItem(value, alias)

    def select_table(self, chain: tuple[tree.Name, ...], _star: Token) -> tree.SelectAll:
        if len(chain) > 3:
            raise AdqlSyntaxError("a table is named by at most three words", *chain[3].at)
        return tree.SelectAll(chain, chain[0].at)

    def alias(self, _as: Token | None, name: tree.Name) -> tree.Name:
        return name

    def from_list(self, *tables: tree.TableReference) -> Any:
        return tables

    def table_name(self, chain: tuple[tree.Name, ...], alias: Any) -> tree.TableName:
        if len(chain) > 3:
            raise AdqlSyntaxError("a table is named by at most three words", *chain[3].at)
        return tree.TableName(chain, alias, chain[0].at)

    def derived_table(self, query: tree.Query, alias: tree.Name) -> tree.DerivedTable:
        return tree.DerivedTable(query, alias, query.at)

    def joined(
        self, left: Any, natural: Any, kind: Any, word: Token, right: Any, how: Any
    ) -> tree.Join:
        condition, using = how or (None, ())
        return tree.Join(
            kind or "INNER", natural is not None, left, right, condition, using, place(word)
        )

    def cross_joined(self, left: Any, word: Token, _join: Token, right: Any) -> tree.Join:
        return tree.Join("CROSS", False, left, right, None, (), place(word))

    def join_type(self, word: Token, _outer: Token | None = None) -> str:
        return word.upper()

    def join_on(self, _on: Token, condition: tree.Condition) -> Any:
        return condition, ()

    def join_using(self, _using: Token, *names: tree.Name) -> Any:
        return None, names

    def where(self, _where: Token, condition: tree.Condition) -> tree.Condition:
        return condition

    def having(self, _having: Token, condition: tree.Condition) -> tree.Condition:
        return condition

    def group_by(self, _group: Token, _by: Token, *values: Value) -> Any:
        return values

    def order_by(self, _order: Token, _by: Token, *terms: tree.OrderTerm) -> Any:
        return terms

    def order_term(self, value: Value, direction: Token | None) -> tree.OrderTerm:
        return tree.OrderTerm(value, direction is not None and direction.upper() == "DESC")

    def offset(self, _offset: Token, count: Token) -> int:
        return _whole(count, "OFFSET")

    def disjunction(self, first: Any, *rest: Any) -> tree.Condition:
        return self._junction("OR", first, rest)

    def conjunction(self, first: Any, *rest: Any) -> tree.Condition:
        return self._junction("AND", first, rest)

    def _junction(self, word: Any, first: Any, rest: tuple[Any, ...]) -> tree.Condition:
        terms = (first, *rest[1::2])
        return tree.Junction(word, terms, first.at)

    def negated(self, word: Token, term: tree.Condition) -> tree.Not:
        return tree.Not(term, place(word))

    def comparison(self, left: Value, operator: Token, right: Value) -> tree.Comparison:
        sign = "<>" if operator == "!=" else str(operator)
        return tree.Comparison(sign, left, right, left.at)

    def between(self, value: Value, negation: Any, _b: Token, *ends: Any) -> tree.Between:
        return tree.Between(value, ends[0], ends[2], negation is not None, value.at)

    def in_list(self, value: Value, negation: Any, _in: Token, *items: Value) -> tree.InList:
        return tree.InList(value, items, negation is not None, value.at)

    def in_query(self, value: Value, negation: Any, _in: Token, query: Any) -> tree.InQuery:
        return tree.InQuery(value, query, negation is not None, value.at)

    def like(self, value: Value, negation: Any, word: Token, pattern: Value) -> tree.Like:
        folded = word.upper() == "ILIKE"
        return tree.Like(value, pattern, negation is not None, folded, value.at)

    def is_null(
        self, column: tree.ColumnRef, _is: Token, negation: Any, _null: Token
    ) -> tree.IsNull:
        return tree.IsNull(column, negation is not None, column.at)

    def exists(self, word: Token, query: tree.Query) -> tree.Exists:
        return tree.Exists(query, place(word))

    def subquery(self, query: tree.Query) -> tree.Query:
        return query

    def concatenation(self, first: Value, *rest: Any) -> Value:
        parts = (first, *rest[1::2])
        for part in parts:
            require_plain(part, "|| joins strings, not geometries")
        return tree.Concatenation(parts, first.at)

    def chain_of_operators(self, first: Value, *rest: Any) -> Value:
        steps = tuple((str(rest[i]), rest[i + 1]) for i in range(0, len(rest), 2))
        for value in (first, *(step[1] for step in steps)):
            require_plain(value, "a geometry is no number")
        return tree.Chain(first, cast(Any, steps), first.at)

    def signed(self, sign: Token, operand: Value) -> Value:
        require_plain(operand, "a geometry is no number")
        return tree.Signed(operand, place(sign)) if sign == "-" else operand

    def integer(self, token: Token) -> tree.Number:
        value = _integer(token)
        return self.real(token) if value is None else tree.Number(value, place(token))

    def real(self, token: Token) -> tree.Number:
        value = float(token)
        if value == float("inf"):
            raise AdqlSyntaxError(f"the number {token[:30]} is too large", *place(token))
        return tree.Number(value, place(token))

    def hexadecimal(self, token: Token) -> tree.Number:
        value = int(token[2:18], 16) if len(token) <= 18 else _MAX_INTEGER + 1
        if value > _MAX_INTEGER:
            raise AdqlSyntaxError(f"the number {token[:30]} is too large", *place(token))
        return tree.Number(value, place(token))

    def string(self, token: Token) -> tree.String:
        return tree.String(_unquoted(token), place(token))

    def null(self, token: Token) -> tree.Null:
        return tree.Null(place(token))

    def count_all(self, word: Token, _star: Token) -> tree.Aggregate:
        return tree.Aggregate("COUNT", False, None, place(word))

    def aggregate(self, word: Token, quantifier: Any, value: Value) -> tree.Aggregate:
        return tree.Aggregate(word.upper(), quantifier == "DISTINCT", value, place(word))

    def scalar_query(self, query: tree.Query) -> tree.Subquery:
        return tree.Subquery(query, query.at)

    def when(self, _when: Token, condition: Any, _then: Token, value: Value) -> Any:
        return condition, value

    match = when

    def default(self, _else: Token, value: Value) -> Value:
        return value

    def case(self, word: Token, *parts: Any) -> tree.Case:
        *branches, default, _end = parts
        return tree.Case(tuple(branches), default, place(word))

    def case_of(self, word: Token, operand: Value, *parts: Any) -> tree.Switch:
        *branches, default, _end = parts
        return tree.Switch(operand, tuple(branches), default, place(word))

    def cast(self, word: Token, value: Value, _as: Token, target: Any) -> tree.Cast:
        return tree.Cast(value, target[0], target[1], place(word))

    def cast_type(self, word: Token, extra: Token | None = None) -> tuple[str, int | None]:
        name = word.upper()
        if word.type == "FUNCTION" and name not in ("POINT", "CIRCLE", "POLYGON"):
            raise AdqlSyntaxError(f"{word} is no type", *place(word))
        length = extra is not None and extra.type == "UNSIGNED"
        return name, _whole(cast(Token, extra), "length") if length else None

    def function(self, word: Token, arguments: Any) -> Value:
        return make_call(word.upper(), arguments or (), place(word))

    def user_function(self, word: Token, arguments: Any) -> tree.Call:
        return tree.Call(str(word), arguments or (), False, "", place(word))

    def arguments(self, *values: Value) -> Any:
        return values

    def column(self, chain: tuple[tree.Name, ...]) -> tree.ColumnRef:
        if len(chain) > 4:
            raise AdqlSyntaxError("a column is named by at most four words", *chain[4].at)
        return tree.ColumnRef(chain, chain[0].at)

    def chain(self, *parts: Any) -> tuple[tree.Name, ...]:
        if len(parts) == 2:
            # The fifth part is kept to be complained of.
            return parts[0] if len(parts[0]) > 4 else (*parts[0], parts[1])
        return parts

    def identifier(self, token: Token) -> tree.Name:
        delimited = token.type == "DELIMITED"
        return tree.Name(_unquoted(token) if delimited else str(token), delimited, place(token))

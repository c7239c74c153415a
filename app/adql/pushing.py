"""Spatial conditions on a subquery without rows of a table go into it, where an index serves them.

DISTINCT, the keys of GROUP BY and set operators hand values on as they are: what a condition on
them leaves out may as well be left out before. So may it of any subquery that TOP and OFFSET do not
cut.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields, replace
from typing import Any, Final

from app.adql.columns import numbers_of
from app.adql.relations import Derived, Query, SetQuery
from app.adql.typed import (
    Arithmetic,
    BoxOf,
    CircleOf,
    Column,
    Condition,
    Cone,
    Constant,
    Expression,
    Junction,
    Literal,
    Negative,
    PointOf,
    PolygonOf,
    RegionDistance,
    Separation,
    Spatial,
    SpatialTest,
)
from app.adql.walk import children, columns_in, has_aggregate, operands

_PLAIN: Final = (
    *(Column, Literal, Constant, PointOf, CircleOf, BoxOf, PolygonOf),
    *(Arithmetic, Negative, Spatial, Separation, RegionDistance),
)
"""What may stand in a condition that moves."""


def push_down(query: Query) -> Query:
    """The same query, its spatial conditions as deep as they may stand in FROM."""
    sources = {each.source: each for each in query.sources if isinstance(each, Derived)}
    kept: list[Condition] = []
    for term in _terms(query.where):
        source = _only_source(term)
        into = sources.get(source) if source is not None else None
        moved = None if into is None else _into(into.query, term)
        if into is None or moved is None:
            kept.append(term)
        else:
            sources[into.source] = Derived(into.source, moved)
    placed = tuple(
        _deeper(sources[each.source]) if isinstance(each, Derived) else each
        for each in query.sources
    )
    return replace(query, sources=placed, where=_all_of(kept))


def _deeper(source: Derived) -> Derived:
    inner = source.query
    if isinstance(inner, Query):
        return replace(source, query=push_down(inner))
    return replace(source, query=_with_operands(inner, map(push_down, _operands(inner))))


def _terms(condition: Condition | None) -> Sequence[Condition]:
    """The conditions that all must be true."""
    if isinstance(condition, Junction) and condition.word == "AND":
        return condition.terms
    return () if condition is None else (condition,)


def _all_of(terms: Sequence[Condition]) -> Condition | None:
    if len(terms) > 1:
        return Junction("AND", tuple(terms))
    return terms[0] if terms else None


def _only_source(term: Condition) -> int | None:
    """The subquery that a spatial condition is about, if it is about one alone and none of its
    columns leads to the row of a table."""
    if not isinstance(term, SpatialTest | Cone) or not all(map(_is_plain, operands(term))):
        return None
    columns = [column for operand in operands(term) for column in columns_in(operand)]
    if not columns or any(column.is_stored for column in columns):
        return None
    sources = {column.source for column in columns}
    return sources.pop() if len(sources) == 1 else None


def _is_plain(expression: Expression) -> bool:
    return isinstance(expression, _PLAIN) and all(map(_is_plain, children(expression)))


def _into(query: Query | SetQuery, term: Condition) -> Query | SetQuery | None:
    """The subquery with a condition on its columns in it; None where it may not stand there."""
    if isinstance(query, Query):
        return _into_select(query, term)
    with_term = [_into_select(operand, term) for operand in _operands(query)]
    known = [operand for operand in with_term if operand is not None]
    return _with_operands(query, known) if len(known) == len(with_term) else None


def _with_operands(query: SetQuery, replaced: Iterable[Query]) -> SetQuery:
    first, *others = replaced
    steps = zip(query.rest, others, strict=True)
    return SetQuery(first, tuple((word, every, operand) for (word, every, _), operand in steps))


def _operands(query: SetQuery) -> Iterator[Query]:
    yield query.first
    for _, _, operand in query.rest:
        yield operand


def _into_select(query: Query, term: Condition) -> Query | None:
    if query.is_cut:
        return None
    values = [_meant(query, c) for operand in operands(term) for c in columns_in(operand)]
    if any(has_aggregate(value) or not _is_plain(value) for value in values):
        return None
    if query.is_grouped and not all(value in query.group_by for value in values):
        return None
    inner = _substituted(term, query)
    return replace(query, where=_all_of([*_terms(query.where), inner]))


def _meant(query: Query, column: Column) -> Expression:
    """What a subquery hands on as this column."""
    number, _, part = column.via[1:].partition("_")
    expression = query.outputs[int(number) - 1].expression
    return (numbers_of(expression) or ())[int(part) - 1] if part else expression


def _substituted(value: Any, query: Query) -> Any:
    """A condition on the columns of a subquery as one on what they mean in it."""
    if isinstance(value, Column):
        return _meant(query, value)
    if isinstance(value, tuple):
        return tuple(_substituted(each, query) for each in value)
    if isinstance(value, (*_PLAIN, SpatialTest, Cone)) and not isinstance(value, Constant):
        parts = {f.name: _substituted(getattr(value, f.name), query) for f in fields(value)}
        return replace(value, **parts)
    return value

"""Names to tables and columns: of the query itself, then of those around it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from app.adql import tree
from app.adql.relations import Query
from app.adql.tree import At, Name
from app.adql.typed import Column, Expression
from app.adql.walk import columns_in
from app.errors import UnknownNameError, shortened
from app.schema.fields import Catalog, Field, Table
from app.schema.uploads import UPLOAD_SCHEMA

_MAX_COMPARED = 60
"""Longer words are not compared with names: no column is called like that."""


@dataclass(frozen=True, slots=True)
class Visible:
    """A column that may be named without a qualifier, and is part of ``*``."""

    field: Field
    expression: Expression


@dataclass(frozen=True, slots=True)
class Named:
    """A table as FROM introduces it: by its alias, or by its own name (``words``)."""

    source: int
    words: tuple[str, ...]
    alias: Name | None
    columns: tuple[Visible, ...]

    @property
    def shown(self) -> str:
        """How messages call it."""
        return self.alias.text if self.alias else ".".join(self.words)

    def answers_to(self, parts: Sequence[Name]) -> bool:
        """Whether a qualifier means this table."""
        if self.alias is not None:
            return len(parts) == 1 and same_name(parts[0], self.alias)
        return len(parts) <= len(self.words) and all(
            matches(part, word)
            for part, word in zip(reversed(parts), reversed(self.words), strict=False)
        )


class Scope:
    """What the names of one SELECT can mean. ``outer`` is the scope of the query around it;
    ``subquery`` resolves a query that stands in a value or condition of this one."""

    def __init__(
        self,
        tables: Sequence[Named],
        columns: Sequence[Visible],
        outer: Scope | None,
        subquery: Callable[[tree.Query, Scope], Query],
    ) -> None:
        self._tables = tables
        self.columns = columns
        self._outer = outer
        self._subquery = subquery
        self.taken: list[Column] = []
        self._indexes: dict[int, dict[str, list[Visible]]] = {}

    def resolve_subquery(self, query: tree.Query) -> Query:
        """The typed subquery, whose names may be those of this scope."""
        return self._subquery(query, self)

    def owns(self, column: Column) -> bool:
        """Whether a column is of a table of this SELECT."""
        return any(table.source == column.source for table in self._tables)

    def with_tables(self, tables: Sequence[Named], columns: Sequence[Visible]) -> Scope:
        """The scope of an ON in this FROM; what it takes from outside counts for both."""
        part = Scope(tables, columns, self._outer, self._subquery)
        part.taken = self.taken
        return part

    def find_own(self, parts: Sequence[Name]) -> Expression | None:
        """The column of that name in this SELECT, or None. Raises UnknownNameError if it is
        ambiguous or if the table it names has no such column."""
        if len(parts) > 1:
            table = self._find_table(parts[:-1])
            if table is None:
                return None
            visible = self._find(table.source, table.columns, parts[-1])
            if not visible:
                raise self._no_column(parts, table)
            return visible[0].expression
        found = self._find(0, self.columns, parts[0])
        if len(found) > 1:
            owners = " or ".join(sorted({self._owner(c.expression) for c in found}))
            reason = f"column {shortened(parts[0].text)} is ambiguous: it may belong to {owners}"
            raise UnknownNameError(reason, *parts[0].at)
        return found[0].expression if found else None

    def _find(self, place: int, columns: Sequence[Visible], name: Name) -> list[Visible]:
        """The columns of a name; ``place`` is the number of their table, 0 for all tables."""
        index = self._indexes.get(place)
        if index is None:
            index = self._indexes[place] = {}
            for column in columns:
                index.setdefault(column.field.name.lower(), []).append(column)
        found = index.get(name.text.lower(), [])
        return [c for c in found if c.field.name == name.text] if name.delimited else found

    def get_column(self, parts: Sequence[Name]) -> Expression:
        """The column of that name here or in a query around; UnknownNameError with the nearest
        name otherwise."""
        found = self.find_own(parts)
        if found is None:
            found = self._find_outer(parts)
        if found is not None:
            return found
        if len(parts) > 1:
            self.get_table(parts[:-1])
        raise self._no_column(parts, None)

    def _find_outer(self, parts: Sequence[Name]) -> Expression | None:
        if self._outer is None:
            return None
        found = self._outer.find_own(parts)
        if found is None:
            found = self._outer._find_outer(parts)
        if found is not None:
            self.taken += columns_in(found)
        return found

    def _owner(self, expression: Expression) -> str:
        if isinstance(expression, Column):
            shown = [t.shown for t in self._tables if t.source == expression.source]
            return shown[0] if shown else expression.table.name
        return "a join"

    def _no_column(self, parts: Sequence[Name], table: Named | None) -> UnknownNameError:
        wanted = parts[-1]
        if table is not None:
            names = [c.field.name for c in table.columns]
            reason = f"table {table.shown} has no column {shortened(wanted.text)}"
        else:
            names = [c.field.name for scope in self._around() for c in scope.columns]
            shown = [t.shown for scope in self._around() for t in scope._tables if t.shown]
            where = f"in {' or '.join(shown)}" if shown else "among those selected"
            reason = f"no column {shortened(wanted.text)} {where}"
        near = suggestion(wanted.text, names)
        if not near and wanted.delimited:
            near = "; strings stand in single quotes"
        return UnknownNameError(reason + near, *wanted.at)

    def _around(self) -> list[Scope]:
        return [self, *(self._outer._around() if self._outer else ())]

    def _find_table(self, parts: Sequence[Name]) -> Named | None:
        found = [table for table in self._tables if table.answers_to(parts)]
        if len(found) > 1:
            written = shortened(".".join(part.text for part in parts))
            raise UnknownNameError(f"table {written} is ambiguous: use aliases", *parts[0].at)
        return found[0] if found else None

    def get_table(self, parts: Sequence[Name]) -> Named:
        """The table of FROM that a qualifier means; UnknownNameError otherwise."""
        found = self._find_table(parts)
        if found is not None:
            return found
        written = shortened(".".join(part.text for part in parts))
        shown = [table.shown for scope in self._around() for table in scope._tables]
        reason = f"{written} is no table of this query; it has {', '.join(shown)}"
        raise UnknownNameError(reason, *parts[0].at)


def columns_of(source: int, table: Table) -> tuple[Visible, ...]:
    """What ``table.*`` means."""
    return tuple(Visible(field, Column(source, table, field)) for field in table.fields)


def find_table(catalog: Catalog, parts: Sequence[Name], at: At) -> Table:
    """The published table of that name; UnknownNameError with the nearest name otherwise."""
    for table in catalog.tables:
        words = table.name.split(".")
        if len(words) == len(parts) and all(map(matches, parts, words)):
            return table
    written = shortened(".".join(part.text for part in parts))
    names = [table.name for table in catalog.tables]
    if len(parts) == 2 and matches(parts[0], UPLOAD_SCHEMA):
        raise UnknownNameError(f"no table {written}{_how_to_upload(parts[1], names)}", *at)
    hint = suggestion(written, names) or f"; the tables are {', '.join(names)}"
    raise UnknownNameError(f"no table {written}{hint}", *at)


def _how_to_upload(name: Name, names: Sequence[str]) -> str:
    came = [each for each in names if each.startswith(f"{UPLOAD_SCHEMA}.")]
    shown = shortened(name.text)
    with_it = f"only {', '.join(came)} came" if came else "no table came"
    return (
        f": {with_it} with the query; send it in a form item and name both, as in "
        f"UPLOAD={shown},param:form_item, or give an address, UPLOAD={shown},URL"
    )


def matches(name: Name, published: str) -> bool:
    """Whether an identifier means a published name: to the letter if it is delimited."""
    if name.delimited:
        return name.text == published
    return name.text.lower() == published.lower()


def same_name(a: Name, b: Name) -> bool:
    """Whether two identifiers of a query mean one thing."""
    if a.delimited and b.delimited:
        return a.text == b.text
    return a.text.lower() == b.text.lower()


def suggestion(written: str, names: Iterable[str]) -> str:
    """``; did you mean …?`` or nothing."""
    if len(written) > _MAX_COMPARED:
        return ""
    by_folded = {name.lower(): name for name in names}
    near = get_close_matches(written.lower(), by_folded, n=1, cutoff=0.7)
    if not near:
        by_tail = {name.split(".")[-1]: name for name in by_folded}
        near = [by_tail[x] for x in get_close_matches(written.lower(), by_tail, n=1, cutoff=0.8)]
    if not near:
        ending = [name for name in by_folded if name.endswith(f"_{written.lower()}")]
        near = ending if len(ending) == 1 else []
    return f"; did you mean {by_folded[near[0]]}?" if near else ""

"""Names to tables and columns of the catalog."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from app.adql.tree import At, Name
from app.adql.typed import Column, Expression, Scan
from app.errors import UnknownNameError
from app.schema.fields import Catalog, Field, Table


@dataclass(frozen=True, slots=True)
class Visible:
    """A column that may be named without a qualifier, and is part of ``*``."""

    field: Field
    expression: Expression


@dataclass(frozen=True, slots=True)
class Named:
    """A table as FROM introduces it: by its alias, or by its own name."""

    scan: Scan
    alias: Name | None

    @property
    def shown(self) -> str:
        """How messages call it."""
        return self.alias.text if self.alias else self.scan.table.name

    def answers_to(self, parts: Sequence[Name]) -> bool:
        """Whether a qualifier means this table."""
        if self.alias is not None:
            return len(parts) == 1 and _same(parts[0], self.alias)
        own = self.scan.table.name.split(".")
        return len(parts) <= len(own) and all(
            matches(part, word) for part, word in zip(reversed(parts), reversed(own), strict=False)
        )


class Scope:
    """What the names of one SELECT can mean."""

    def __init__(self, tables: Sequence[Named], columns: Sequence[Visible]) -> None:
        self._tables = tables
        self.columns = columns

    def find_column(self, parts: Sequence[Name]) -> Expression | None:
        """The column of that name, or None. Raises UnknownNameError if it is ambiguous or if the
        qualifier names no table of the query."""
        if len(parts) > 1:
            table = self.get_table(parts[:-1])
            field = find_field(table.scan.table, parts[-1])
            return Column(table.scan.source, table.scan.table, field) if field else None
        found = [c for c in self.columns if matches(parts[0], c.field.name)]
        if len(found) > 1:
            owners = " or ".join(sorted({self._owner(c.expression) for c in found}))
            reason = f"column {parts[0].text} is ambiguous: it may belong to {owners}"
            raise UnknownNameError(reason, *parts[0].at)
        return found[0].expression if found else None

    def _owner(self, expression: Expression) -> str:
        if isinstance(expression, Column):
            shown = [t.shown for t in self._tables if t.scan.source == expression.source]
            return shown[0] if shown else expression.table.name
        return "a join"

    def get_column(self, parts: Sequence[Name]) -> Expression:
        """The column of that name; UnknownNameError with the nearest name otherwise."""
        found = self.find_column(parts)
        if found is not None:
            return found
        wanted = parts[-1]
        if len(parts) > 1:
            table = self.get_table(parts[:-1])
            names = [f.name for f in table.scan.table.fields]
            reason = f"table {table.shown} has no column {wanted.text}"
        else:
            names = [c.field.name for c in self.columns]
            where = " or ".join(t.shown for t in self._tables)
            reason = f"no column {wanted.text} in {where}"
        raise UnknownNameError(reason + suggestion(wanted.text, names), *wanted.at)

    def get_table(self, parts: Sequence[Name]) -> Named:
        """The table of FROM that a qualifier means; UnknownNameError otherwise."""
        found = [table for table in self._tables if table.answers_to(parts)]
        written = ".".join(part.text for part in parts)
        if len(found) > 1:
            raise UnknownNameError(f"table {written} is ambiguous: use aliases", *parts[0].at)
        if found:
            return found[0]
        shown = [table.shown for table in self._tables]
        reason = f"{written} is no table of this query; it has {', '.join(shown)}"
        raise UnknownNameError(reason, *parts[0].at)

    def columns_of(self, table: Named) -> list[Visible]:
        """What ``table.*`` means."""
        scan = table.scan
        return [Visible(f, Column(scan.source, scan.table, f)) for f in scan.table.fields]


def find_table(catalog: Catalog, parts: Sequence[Name], at: At) -> Table:
    """The published table of that name; UnknownNameError with the nearest name otherwise."""
    for table in catalog.tables:
        words = table.name.split(".")
        if len(words) == len(parts) and all(map(matches, parts, words)):
            return table
    written = ".".join(part.text for part in parts)
    names = [table.name for table in catalog.tables]
    hint = suggestion(written, names) or f"; the tables are {', '.join(names)}"
    raise UnknownNameError(f"no table {written}{hint}", *at)


def find_field(table: Table, name: Name) -> Field | None:
    """The published column of that name, or None."""
    return next((field for field in table.fields if matches(name, field.name)), None)


def matches(name: Name, published: str) -> bool:
    """Whether an identifier means a published name: to the letter if it is delimited."""
    if name.delimited:
        return name.text == published
    return name.text.lower() == published.lower()


def _same(a: Name, b: Name) -> bool:
    if a.delimited and b.delimited:
        return a.text == b.text
    return a.text.lower() == b.text.lower()


def suggestion(written: str, names: Iterable[str]) -> str:
    """``; did you mean …?`` or nothing."""
    by_folded = {name.lower(): name for name in names}
    near = get_close_matches(written.lower(), by_folded, n=1, cutoff=0.7)
    if not near:
        by_tail = {name.split(".")[-1]: name for name in by_folded}
        near = [by_tail[x] for x in get_close_matches(written.lower(), by_tail, n=1, cutoff=0.8)]
    return f"; did you mean {by_folded[near[0]]}?" if near else ""

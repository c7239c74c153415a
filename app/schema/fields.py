"""Columns and tables as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Kind = Literal["integer", "real", "text", "boolean", "timestamp", "point", "region"]
"""What a value is for ADQL: geometry kinds are ``point`` and ``region``."""

Datatype = Literal[
    "boolean",
    "short",
    "int",
    "long",
    "float",
    "double",
    "floatComplex",
    "doubleComplex",
    "char",
    "unicodeChar",
]
"""VOTable primitive types. Complex numbers travel as text, real and imaginary part after it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One column, as VOTable FIELD, TAP_SCHEMA row and compiler symbol alike."""

    name: str
    kind: Kind
    datatype: Datatype
    arraysize: str | None = None
    xtype: str | None = None
    unit: str | None = None
    ucd: str | None = None
    utype: str | None = None
    description: str = ""
    principal: bool = False
    indexed: bool = False
    std: bool = False
    prefix_bind: str | None = None
    """Values are stored without a prefix that the caller supplies at query time under this
    bind name (links are stored as paths and leave with the address of the service). What does
    not begin with ``/`` is whole and leaves as it is."""
    column: str | None = None
    """The column's name in the database when ``name`` would not do there."""

    def __hash__(self) -> int:
        """Quick: what is the same for all answers with some columns is kept by its fields."""
        return hash((self.name, self.column))

    @property
    def physical(self) -> str:
        """The column's name in the database."""
        return self.column or self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignKey:
    """``columns`` pairs (from_column, target_column) of a join the table offers."""

    key_id: str
    target: str
    columns: tuple[tuple[str, str], ...]
    description: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A published table. Columns that are not listed here cannot be reached by any query.

    ``name`` is what users write (``ivoa.ObsCore``); ``physical`` is the table in the database.
    """

    schema_name: str
    name: str
    physical: str
    fields: tuple[Field, ...]
    description: str = ""
    utype: str | None = None
    foreign_keys: tuple[ForeignKey, ...] = ()
    positions: tuple[tuple[str, str], ...] = ()
    """Pairs (longitude column, latitude column), ICRS degrees, by their names in the database,
    that both engines index. A table with positions or regions has an integer primary key
    ``row_id`` in the database."""

    def find_field(self, name: str) -> Field | None:
        """The column called ``name`` (case-insensitive), or None."""
        folded = name.lower()
        return next((f for f in self.fields if f.name.lower() == folded), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    """A named group of tables."""

    name: str
    description: str
    tables: tuple[Table, ...]
    utype: str | None = None


@dataclass(frozen=True, slots=True)
class Catalog:
    """All published schemas; what a query may see."""

    schemas: tuple[Schema, ...]

    @property
    def tables(self) -> tuple[Table, ...]:
        """Every table of every schema."""
        return tuple(t for s in self.schemas for t in s.tables)

    def by_name(self) -> Mapping[str, Table]:
        """Lower-case qualified name -> table."""
        return {t.name.lower(): t for t in self.tables}

"""``tap_schema.*`` (TAP 1.1, section 4): the tables that describe every table, themselves included.

:func:`tap_schema_rows` gives the contents; they always come from the catalog, so the description
cannot drift from what the compiler accepts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from app.schema.columns import integer, text
from app.schema.fields import Catalog, Field, ForeignKey, Schema, Table
from app.schema.reserved import RESERVED

TapSchemaRows = Mapping[str, Sequence[Mapping[str, str | int | None]]]
"""Physical table name -> its rows, each column name -> value."""

_REGULAR: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]*\Z")


def _flag(name: str, description: str) -> Field:
    return integer(name, description, datatype="int", std=True)


def _std_text(name: str, description: str, *, principal: bool = False) -> Field:
    return text(name, description, principal=principal, std=True)


_SCHEMAS: Final = Table(
    schema_name="tap_schema",
    name="tap_schema.schemas",
    physical="tap_schemas",
    fields=(
        _std_text("schema_name", "Name of the schema", principal=True),
        _std_text("utype", "UTYPE of the schema, if it has one"),
        _std_text("description", "What the schema holds", principal=True),
        _flag("schema_index", "Order in which schemas are best shown"),
    ),
    description="The schemas of this service",
)

_TABLES: Final = Table(
    schema_name="tap_schema",
    name="tap_schema.tables",
    physical="tap_tables",
    fields=(
        _std_text("schema_name", "Schema the table belongs to", principal=True),
        _std_text("table_name", "Name to use in queries", principal=True),
        _std_text("table_type", "table or view"),
        _std_text("utype", "UTYPE of the table, if it has one"),
        _std_text("description", "What the table holds", principal=True),
        _flag("table_index", "Order in which tables are best shown"),
    ),
    description="The tables of this service",
    foreign_keys=(
        ForeignKey(
            key_id="tap_schema_tables_schemas",
            target="tap_schema.schemas",
            columns=(("schema_name", "schema_name"),),
            description="The schema of a table",
        ),
    ),
)

_COLUMNS: Final = Table(
    schema_name="tap_schema",
    name="tap_schema.columns",
    physical="tap_columns",
    fields=(
        _std_text("table_name", "Table the column belongs to", principal=True),
        _std_text("column_name", "Name to use in queries", principal=True),
        _std_text("datatype", "VOTable datatype", principal=True),
        _std_text("arraysize", "VOTable arraysize; null for a scalar"),
        _std_text("xtype", "DALI or ADQL extended type"),
        _flag("size", "Length of a fixed-length array (deprecated by TAP 1.1; see arraysize)"),
        _std_text("description", "What the column holds", principal=True),
        _std_text("utype", "UTYPE of the column"),
        _std_text("unit", "Unit in VOUnit syntax", principal=True),
        _std_text("ucd", "Unified content descriptor", principal=True),
        _flag("indexed", "1 when conditions on the column are fast"),
        _flag("principal", "1 when the column is one to show first"),
        _flag("std", "1 when a standard defines the column"),
        _flag("column_index", "Order of the column in its table"),
    ),
    description="The columns of the tables of this service",
    foreign_keys=(
        ForeignKey(
            key_id="tap_schema_columns_tables",
            target="tap_schema.tables",
            columns=(("table_name", "table_name"),),
            description="The table of a column",
        ),
    ),
)

_KEYS: Final = Table(
    schema_name="tap_schema",
    name="tap_schema.keys",
    physical="tap_keys",
    fields=(
        _std_text("key_id", "Name of the key, to join with tap_schema.key_columns", principal=True),
        _std_text("from_table", "Table that refers", principal=True),
        _std_text("target_table", "Table referred to", principal=True),
        _std_text("utype", "UTYPE of the key, if it has one"),
        _std_text("description", "What the join means", principal=True),
    ),
    description="The foreign keys between the tables of this service: how to join them",
    foreign_keys=(
        ForeignKey(
            key_id="tap_schema_keys_from",
            target="tap_schema.tables",
            columns=(("from_table", "table_name"),),
            description="The table that refers",
        ),
        ForeignKey(
            key_id="tap_schema_keys_target",
            target="tap_schema.tables",
            columns=(("target_table", "table_name"),),
            description="The table referred to",
        ),
    ),
)

_KEY_COLUMNS: Final = Table(
    schema_name="tap_schema",
    name="tap_schema.key_columns",
    physical="tap_key_columns",
    fields=(
        _std_text("key_id", "Key the pair belongs to", principal=True),
        _std_text("from_column", "Column of the table that refers", principal=True),
        _std_text("target_column", "Column of the table referred to", principal=True),
    ),
    description="The pairs of columns of each foreign key",
    foreign_keys=(
        ForeignKey(
            key_id="tap_schema_key_columns_keys",
            target="tap_schema.keys",
            columns=(("key_id", "key_id"),),
            description="The key of a pair",
        ),
    ),
)

TAP_SCHEMA_TABLES: Final = (_SCHEMAS, _TABLES, _COLUMNS, _KEYS, _KEY_COLUMNS)

TAP_SCHEMA: Final = Schema(
    name="tap_schema",
    description="A TAP-standard-mandated schema to describe tablesets in a TAP 1.1 service",
    tables=TAP_SCHEMA_TABLES,
)


def published_name(name: str) -> str:
    """A column name as a query must write it: delimited when ADQL would not take it bare."""
    if _REGULAR.match(name) and name.upper() not in RESERVED:
        return name
    return '"' + name.replace('"', '""') + '"'


def tap_schema_rows(catalog: Catalog) -> TapSchemaRows:
    """Contents of the five tables for a catalog (which is to hold ``TAP_SCHEMA`` itself)."""
    return {
        "tap_schemas": list(_schema_rows(catalog)),
        "tap_tables": list(_table_rows(catalog)),
        "tap_columns": [row for table in catalog.tables for row in _column_rows(table)],
        "tap_keys": [_key_row(table, key) for table, key in _keys(catalog)],
        "tap_key_columns": [row for _, key in _keys(catalog) for row in _key_column_rows(key)],
    }


def _schema_rows(catalog: Catalog) -> Iterator[Mapping[str, str | int | None]]:
    for index, schema in enumerate(catalog.schemas):
        yield {
            "schema_name": schema.name,
            "utype": schema.utype,
            "description": schema.description,
            "schema_index": index,
        }


def _table_rows(catalog: Catalog) -> Iterator[Mapping[str, str | int | None]]:
    for index, table in enumerate(catalog.tables):
        yield {
            "schema_name": table.schema_name,
            "table_name": table.name,
            "table_type": "table",
            "utype": table.utype,
            "description": table.description,
            "table_index": index,
        }


def _column_rows(table: Table) -> Iterator[Mapping[str, str | int | None]]:
    for index, field in enumerate(table.fields):
        yield {
            "table_name": table.name,
            "column_name": published_name(field.name),
            "datatype": field.datatype,
            "arraysize": field.arraysize,
            "xtype": field.xtype,
            "size": _fixed_size(field.arraysize),
            "description": field.description,
            "utype": field.utype,
            "unit": field.unit,
            "ucd": field.ucd,
            "indexed": int(field.indexed),
            "principal": int(field.principal),
            "std": int(field.std),
            "column_index": index,
        }


def _fixed_size(arraysize: str | None) -> int | None:
    """The number of elements when ``arraysize`` fixes it, else None (TAP 1.1, section 4.3)."""
    return int(arraysize) if arraysize is not None and arraysize.isdigit() else None


def _keys(catalog: Catalog) -> Iterator[tuple[Table, ForeignKey]]:
    for table in catalog.tables:
        for key in table.foreign_keys:
            yield table, key


def _key_row(table: Table, key: ForeignKey) -> Mapping[str, str | int | None]:
    return {
        "key_id": key.key_id,
        "from_table": table.name,
        "target_table": key.target,
        "utype": None,
        "description": key.description,
    }


def _key_column_rows(key: ForeignKey) -> Iterator[Mapping[str, str | int | None]]:
    for from_column, target_column in key.columns:
        yield {
            "key_id": key.key_id,
            "from_column": published_name(from_column),
            "target_column": published_name(target_column),
        }

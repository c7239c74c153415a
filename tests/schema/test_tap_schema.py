"""TAP_SCHEMA describes every table, itself included."""

from __future__ import annotations

import pytest

from app.schema.catalog import CATALOG
from app.schema.fields import Table
from app.schema.tap_schema import TAP_SCHEMA_TABLES, published_name, tap_schema_rows

ROWS = tap_schema_rows(CATALOG)

# REC-TAP-1.1, section 4: the columns each table must have.
STANDARD = {
    "tap_schema.schemas": {"schema_name", "utype", "description", "schema_index"},
    "tap_schema.tables": {
        "schema_name",
        "table_name",
        "table_type",
        "utype",
        "description",
        "table_index",
    },
    "tap_schema.columns": {
        "table_name",
        "column_name",
        "datatype",
        "arraysize",
        "xtype",
        "size",
        "description",
        "utype",
        "unit",
        "ucd",
        "indexed",
        "principal",
        "std",
        "column_index",
    },
    "tap_schema.keys": {"key_id", "from_table", "target_table", "utype", "description"},
    "tap_schema.key_columns": {"key_id", "from_column", "target_column"},
}


@pytest.mark.parametrize("table", TAP_SCHEMA_TABLES, ids=lambda table: table.name)
def test_the_tables_have_the_standard_columns(table: Table) -> None:
    fields = {f.name: f for f in table.fields}
    assert set(fields) == STANDARD[table.name]
    assert all(field.std for field in fields.values())


def test_every_table_and_column_of_the_catalog_is_listed() -> None:
    listed = {(row["table_name"], row["column_name"]) for row in ROWS["tap_columns"]}
    wanted = {(t.name, published_name(f.name)) for t in CATALOG.tables for f in t.fields}
    assert listed == wanted
    assert {row["table_name"] for row in ROWS["tap_tables"]} == {t.name for t in CATALOG.tables}
    schemas = {row["schema_name"] for row in ROWS["tap_schemas"]}
    assert schemas == {"ivoa", "skyloom", "tap_schema"}


def test_flags_are_numbers_and_sizes_only_of_fixed_arrays() -> None:
    for row in ROWS["tap_columns"]:
        assert {row["std"], row["principal"], row["indexed"]} <= {0, 1}
        assert row["size"] is None
        is_text = row["datatype"] == "char"
        assert row["arraysize"] == ("*" if is_text else None)


def test_a_reserved_column_name_is_listed_delimited() -> None:
    names = {row["column_name"] for row in ROWS["tap_columns"]}
    assert '"size"' in names and "size" not in names


@pytest.mark.parametrize(
    ("name", "published"),
    [("s_ra", "s_ra"), ("size", '"size"'), ("2mass", '"2mass"'), ('a"b', '"a""b"')],
)
def test_published_name(name: str, published: str) -> None:
    assert published_name(name) == published


def test_the_keys_join_existing_columns() -> None:
    tables = CATALOG.by_name()
    keys = {row["key_id"]: row for row in ROWS["tap_keys"]}
    assert len(keys) == len(ROWS["tap_keys"])
    for pair in ROWS["tap_key_columns"]:
        key = keys[pair["key_id"]]
        assert tables[str(key["from_table"]).lower()].find_field(str(pair["from_column"]))
        assert tables[str(key["target_table"]).lower()].find_field(str(pair["target_column"]))


def test_the_standard_keys_and_those_of_provenance_are_there() -> None:
    pairs = {
        (key["from_table"], pair["from_column"], key["target_table"], pair["target_column"])
        for key in ROWS["tap_keys"]
        for pair in ROWS["tap_key_columns"]
        if pair["key_id"] == key["key_id"]
    }
    assert pairs == {
        ("tap_schema.tables", "schema_name", "tap_schema.schemas", "schema_name"),
        ("tap_schema.columns", "table_name", "tap_schema.tables", "table_name"),
        ("tap_schema.keys", "from_table", "tap_schema.tables", "table_name"),
        ("tap_schema.keys", "target_table", "tap_schema.tables", "table_name"),
        ("tap_schema.key_columns", "key_id", "tap_schema.keys", "key_id"),
        ("skyloom.product_input", "product_id", "ivoa.ObsCore", "obs_publisher_did"),
        ("skyloom.build_quality", "obs_publisher_did", "ivoa.ObsCore", "obs_publisher_did"),
        ("skyloom.product_input", "input_id", "ivoa.ObsCore", "obs_publisher_did"),
        ("skyloom.dia_source", "obs_publisher_did", "ivoa.ObsCore", "obs_publisher_did"),
    }

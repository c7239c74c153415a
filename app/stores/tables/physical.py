"""The tables as they lie in the database, the same on SQLite and PostgreSQL.

Built from :mod:`app.schema`, so a published column and its physical one cannot differ; a test
holds the migrations to these definitions. Text sorts and compares by code point on both engines
(collation "C" on PostgreSQL), and instants are ISO 8601 text, so an ORDER BY gives one answer.
"""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa

from app.schema.catalogs import BUILD_QUALITY, PRODUCT_INPUT
from app.schema.coverage import COVERAGE, GROUPED
from app.schema.dia_source import DIA_SOURCE
from app.schema.fields import Field, Kind, Table
from app.schema.obscore import OBSCORE, REQUIRED
from app.schema.tap_schema import TAP_SCHEMA_TABLES

METADATA: Final = sa.MetaData()

TEXT: Final = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def _type(kind: Kind) -> sa.types.TypeEngine[Any]:
    if kind == "integer":
        return sa.BigInteger()
    if kind == "real":
        return sa.Double()
    if kind == "boolean":
        return sa.Boolean()
    return TEXT


def _column(field: Field, required: tuple[str, ...]) -> sa.Column[Any]:
    return sa.Column(field.physical, _type(field.kind), nullable=field.name not in required)


def _table(table: Table, *hidden: sa.Column[Any], required: tuple[str, ...] = ()) -> sa.Table:
    columns = (_column(field, required) for field in table.fields)
    return sa.Table(table.physical, METADATA, *columns, *hidden)


def physical_table(table: Table) -> sa.Table:
    """A table that a user published, with the number of the row as its key."""
    columns = (_column(field, ()) for field in table.fields)
    row_id = sa.Column(
        "row_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True
    )
    return sa.Table(table.physical, sa.MetaData(), row_id, *columns)


obscore: Final = _table(
    OBSCORE,
    sa.Column("row_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True),
    sa.Column("file_path", TEXT, nullable=False),
    sa.Column("file_hdu", sa.BigInteger, nullable=False),
    sa.Column("file_size", sa.BigInteger, nullable=False),
    sa.Column("file_mtime_ns", sa.BigInteger, nullable=False),
    sa.Column("file_checksum", TEXT, nullable=False),
    sa.Column("image_ref", TEXT, nullable=False),
    sa.Column("origin", TEXT, nullable=False),
    sa.Column("recipe_key", TEXT),
    sa.Column("difference_of", TEXT),
    sa.Column("restricted_by", TEXT),
    required=REQUIRED,
)

HIDDEN_COLUMNS: Final = frozenset(
    {column.name for column in obscore.columns}
    - {field.physical for field in OBSCORE.fields}
    - {"row_id"}
)
"""Columns of ObsCore's table that are the service's own; statements of users join by ``row_id``."""

changed_place: Final = sa.Table(
    "changed_place",
    METADATA,
    sa.Column("row_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True),
    sa.Column("s_region", TEXT, nullable=False),
    sa.Column("lsst_band", TEXT, nullable=False),
    sa.Column("thorough", sa.Boolean, nullable=False),
)
"""Where calibrated exposures came, changed or went, until it was looked at which differences can be
built there. ``thorough``: it may be fewer than before."""

_KEY: Final = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

coverage: Final = _table(
    COVERAGE,
    sa.Column("row_id", _KEY, primary_key=True),
    required=("obs_collection", "calib_level", "moc_order", "coverage"),
)

coverage_change: Final = sa.Table(
    "coverage_change",
    METADATA,
    sa.Column("row_id", _KEY, primary_key=True),
    *(_column(field, ()) for field in COVERAGE.fields if field.name in GROUPED),
    sa.Column("s_region", TEXT),
    sa.Column("came", sa.Boolean, nullable=False),
)
"""Regions that went, and those that came in their place. Triggers of ``obscore`` write it."""

coverage_state: Final = sa.Table(
    "coverage_state",
    METADATA,
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("through", sa.BigInteger),
    sa.Column("modified", TEXT, nullable=False),
)
"""One row. ``through``: number of the last row of ``obscore`` that ``coverage`` holds; null before
anybody asked for it."""

product_input: Final = _table(PRODUCT_INPUT, required=("product_id", "input_id", "role"))

build_quality: Final = _table(BUILD_QUALITY, required=("obs_publisher_did",))

dia_source: Final = _table(
    DIA_SOURCE,
    sa.Column("row_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True),
    required=("dia_source_id", "obs_publisher_did"),
)

held_source: Final = sa.Table(
    "held_source",
    METADATA,
    sa.Column("row_id", _KEY, primary_key=True),
    *(_column(field, ("dia_source_id", "obs_publisher_did")) for field in DIA_SOURCE.fields),
    sa.Column("release_date", TEXT),
)
"""Sources of differences that are not public, to which no query comes. ``release_date``: when they
move to ``dia_source`` (ISO 8601, UTC); null: never."""

tap_schema: Final = {table.physical: _table(table) for table in TAP_SCHEMA_TABLES}

published_table: Final = sa.Table(
    "published_table",
    METADATA,
    sa.Column("name", TEXT, primary_key=True),
    sa.Column("physical", TEXT, nullable=False, unique=True),
    sa.Column("definition", TEXT, nullable=False),
    sa.Column("row_count", sa.BigInteger, nullable=False),
    sa.Column("source", TEXT, nullable=False),
    sa.Column("published", TEXT, nullable=False),
)

access_token: Final = sa.Table(
    "access_token",
    METADATA,
    sa.Column("name", TEXT, primary_key=True),
    sa.Column("digest", TEXT, nullable=False, unique=True),
    sa.Column("role", TEXT, nullable=False),
    sa.Column("collections", TEXT, nullable=False),
    sa.Column("created", TEXT, nullable=False),
    sa.Column("expires", TEXT),
    sa.Column("revoked", TEXT),
)

discarded_table: Final = sa.Table(
    "discarded_table", METADATA, sa.Column("physical", TEXT, primary_key=True)
)

catalog_version: Final = sa.Table(
    "catalog_version", METADATA, sa.Column("version", sa.BigInteger, nullable=False)
)

job: Final = sa.Table(
    "job",
    METADATA,
    sa.Column("job_id", TEXT, primary_key=True),
    sa.Column("kind", TEXT, nullable=False),
    sa.Column("phase", TEXT, nullable=False),
    sa.Column("owner", TEXT),
    sa.Column("account", TEXT, nullable=False, server_default=""),
    sa.Column("turn", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("run_id", TEXT),
    sa.Column("traceparent", TEXT),
    sa.Column("service_url", TEXT),
    sa.Column("parameters", TEXT, nullable=False),
    sa.Column("creation_time", TEXT, nullable=False),
    sa.Column("start_time", TEXT),
    sa.Column("end_time", TEXT),
    sa.Column("quote", TEXT),
    sa.Column("execution_duration_s", sa.BigInteger, nullable=False),
    sa.Column("destruction", TEXT, nullable=False),
    sa.Column("results", TEXT, nullable=False),
    sa.Column("upload_bytes", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("held_bytes", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("error", TEXT),
    sa.Column("recipe_key", TEXT),
    sa.Column("progress", TEXT, nullable=False),
    sa.Column("attempts", sa.BigInteger, nullable=False),
    sa.Column("lease_owner", TEXT),
    sa.Column("lease_until", TEXT),
)

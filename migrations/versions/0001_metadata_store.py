"""ObsCore, provenance, TAP_SCHEMA and jobs, with their indexes.

SQL that only one engine understands lies in ``migrations/sql`` under this revision's number.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

SQL = Path(__file__).resolve().parents[1] / "sql"

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
LONG = sa.BigInteger()
REAL = sa.Double()

OBSCORE_TEXT = [
    "dataproduct_type",
    "dataproduct_subtype",
    "obs_title",
    "obs_creation_date",
    "obs_release_date",
    "data_rights",
    "access_url",
    "access_format",
    "target_name",
    "s_region",
    "o_ucd",
    "pol_states",
    "facility_name",
    "instrument_name",
    "lsst_band",
    "lsst_filter",
]
OBSCORE_LONG = [
    "access_estsize",
    "s_xel1",
    "s_xel2",
    "t_xel",
    "em_xel",
    "pol_xel",
    "lsst_visit",
    "lsst_detector",
    "lsst_ccdvisitid",
    "lsst_tract",
    "lsst_patch",
]
OBSCORE_REAL = [
    "s_ra",
    "s_dec",
    "s_fov",
    "s_resolution",
    "s_pixel_scale",
    "t_min",
    "t_max",
    "t_exptime",
    "t_resolution",
    "em_min",
    "em_max",
    "em_res_power",
]


def upgrade() -> None:
    """Create every table and index."""
    create_obscore()
    create_product_input()
    create_tap_schema()
    create_job()
    if op.get_bind().dialect.name == "sqlite":
        run_file(SQL / "0001_obscore_region_index.sqlite.sql")


def run_file(path: Path) -> None:
    """Run the statements of a file (they are ended by a semicolon at a line's end)."""
    for statement in path.read_text(encoding="utf-8").split(";\n"):
        if statement.strip():
            op.get_bind().exec_driver_sql(statement)


def required(name: str, kind: sa.types.TypeEngine[object]) -> sa.Column[object]:
    """A column that is never null."""
    return sa.Column(name, kind, nullable=False)


def optional(names: Iterable[str], kind: sa.types.TypeEngine[object]) -> list[sa.Column[object]]:
    """Columns that may be null."""
    return [sa.Column(name, kind) for name in names]


def create_obscore() -> None:
    """``ivoa.ObsCore`` with the hidden columns that say where the pixels lie."""
    op.create_table(
        "obscore",
        sa.Column("row_id", LONG.with_variant(sa.Integer(), "sqlite"), primary_key=True),
        required("obs_publisher_did", TEXT),
        required("obs_collection", TEXT),
        required("obs_id", TEXT),
        required("calib_level", LONG),
        *optional(OBSCORE_TEXT, TEXT),
        *optional(OBSCORE_LONG, LONG),
        *optional(OBSCORE_REAL, REAL),
        required("file_path", TEXT),
        required("file_hdu", LONG),
        required("file_size", LONG),
        required("file_mtime_ns", LONG),
        required("file_checksum", TEXT),
        required("image_ref", TEXT),
        required("origin", TEXT),
        sa.Column("recipe_key", TEXT),
        sa.UniqueConstraint("obs_publisher_did", name="obscore_obs_publisher_did"),
        sa.CheckConstraint("origin IN ('ingested', 'built')", name="obscore_origin"),
    )
    op.create_index(
        "obscore_obs_publisher_did_folded",
        "obscore",
        [sa.text("lower(obs_publisher_did)")],
        unique=True,
    )
    for columns in (
        ["lsst_band"],
        ["calib_level"],
        ["dataproduct_subtype"],
        ["obs_collection"],
        ["t_min"],
        ["s_ra"],
        ["s_dec"],
        ["recipe_key"],
        ["file_path"],
        ["lsst_visit", "lsst_detector"],
        ["lsst_tract", "lsst_patch"],
    ):
        op.create_index("_".join(["obscore", *columns]), "obscore", columns)


def create_product_input() -> None:
    """``skyloom.product_input``. An input may leave the archive; its mention stays."""
    op.create_table(
        "product_input",
        sa.Column(
            "product_id",
            TEXT,
            sa.ForeignKey("obscore.obs_publisher_did", ondelete="CASCADE", onupdate="CASCADE"),
            nullable=False,
        ),
        required("input_id", TEXT),
        required("role", TEXT),
        sa.Column("weight", REAL),
        sa.Column("scale", REAL),
        sa.Column("rejected", TEXT),
        sa.Column("input_checksum", TEXT),
        sa.PrimaryKeyConstraint("product_id", "input_id", "role", name="product_input_key"),
    )
    op.create_index("product_input_input_id", "product_input", ["input_id"])
    for column in ("product_id", "input_id"):
        op.create_index(
            f"product_input_{column}_folded", "product_input", [sa.text(f"lower({column})")]
        )


def create_tap_schema() -> None:
    """The five tables of TAP 1.1, section 4; their rows are written at every upgrade."""
    op.create_table(
        "tap_schemas",
        *optional(("schema_name", "utype", "description"), TEXT),
        *optional(("schema_index",), LONG),
    )
    op.create_table(
        "tap_tables",
        *optional(("schema_name", "table_name", "table_type", "utype", "description"), TEXT),
        *optional(("table_index",), LONG),
    )
    op.create_table(
        "tap_columns",
        *optional(("table_name", "column_name", "datatype", "arraysize", "xtype"), TEXT),
        *optional(("description", "utype", "unit", "ucd"), TEXT),
        *optional(("size", "indexed", "principal", "std", "column_index"), LONG),
    )
    op.create_table(
        "tap_keys",
        *optional(("key_id", "from_table", "target_table", "utype"), TEXT),
        sa.Column("description", TEXT),
    )
    op.create_table("tap_key_columns", *optional(("key_id", "from_column", "target_column"), TEXT))


def create_job() -> None:
    """UWS jobs. The partial unique index makes a recipe execute once at a time."""
    op.create_table(
        "job",
        sa.Column("job_id", TEXT, primary_key=True),
        required("kind", TEXT),
        required("phase", TEXT),
        *optional(("owner", "run_id", "service_url"), TEXT),
        required("parameters", TEXT),
        required("creation_time", TEXT),
        *optional(("start_time", "end_time", "quote"), TEXT),
        required("execution_duration_s", LONG),
        required("destruction", TEXT),
        required("results", TEXT),
        *optional(("error", "recipe_key"), TEXT),
        required("progress", TEXT),
        required("attempts", LONG),
        *optional(("lease_owner", "lease_until"), TEXT),
    )
    op.create_index("job_phase_kind", "job", ["phase", "kind", "creation_time"])
    op.create_index("job_creation_time", "job", ["creation_time"])
    op.create_index("job_destruction", "job", ["destruction"])
    op.create_index("job_recipe_key", "job", ["recipe_key"])
    executing = sa.text("phase = 'EXECUTING'")
    op.create_index(
        "job_one_build",
        "job",
        ["recipe_key"],
        unique=True,
        sqlite_where=executing,
        postgresql_where=executing,
    )


def downgrade() -> None:
    """Drop everything; the images themselves are not touched."""
    if op.get_bind().dialect.name == "sqlite":
        op.drop_table("obscore_region_index")
    for name in (
        "job",
        "tap_key_columns",
        "tap_keys",
        "tap_columns",
        "tap_tables",
        "tap_schemas",
        "product_input",
        "obscore",
    ):
        op.drop_table(name)

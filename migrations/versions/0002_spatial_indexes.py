"""Outlines in the spatial index of regions, and an index of positions."""

from __future__ import annotations

from pathlib import Path

from alembic import op

from app.schema.obscore import OBSCORE
from app.stores.tables.spatial import create_spatial_indexes, drop_spatial_indexes

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

SQL = Path(__file__).resolve().parents[1] / "sql" / "0002_geometry.postgresql.sql"

FUNCTIONS = (
    "adql_centroid(float8[], int)",
    "adql_polygon_text(float8[])",
    "adql_box(float8, float8, float8, float8)",
)

PRESUMED = {
    "obscore_calib_level": "1000000 250000",
    "obscore_dataproduct_subtype": "1000000 200000",
    "obscore_lsst_band": "1000000 160000",
    "obscore_obs_collection": "1000000 300000",
    "obscore_lsst_visit_lsst_detector": "1000000 500 3",
    "obscore_lsst_tract_lsst_patch": "1000000 20000 200",
}
"""Index -> rows, rows an equality of its first column finds, of both."""

OLD_TREE = (
    "CREATE VIRTUAL TABLE obscore_region_index "
    "USING rtree(row_id, x_min, x_max, y_min, y_max, z_min, z_max)",
    "CREATE TRIGGER obscore_region_index_delete AFTER DELETE ON obscore "
    "BEGIN DELETE FROM obscore_region_index WHERE row_id = old.row_id; END",
)


def upgrade() -> None:
    """Replace the tree of boxes by one that holds the outlines; index the rows there are."""
    if op.get_bind().dialect.name == "postgresql":
        text = SQL.read_text(encoding="utf-8")
        op.get_bind().exec_driver_sql(text.replace("%", "%%"))
    else:
        op.execute("DROP TRIGGER obscore_region_index_delete")
        op.execute("DROP TABLE obscore_region_index")
        create_spatial_indexes(op.get_bind(), OBSCORE)
        presume_statistics()


def presume_statistics() -> None:
    """Tell SQLite's planner what a full table looks like until ANALYZE has seen the real one:
    without it an equality counts as ten rows, and it would take a third of all rows by their
    calib_level where the tree finds a few hundred."""
    op.execute("ANALYZE obscore")
    for index, statistics in PRESUMED.items():
        op.execute(
            "INSERT INTO sqlite_stat1 (tbl, idx, stat) "
            f"SELECT 'obscore', '{index}', '{statistics}' WHERE NOT EXISTS "
            f"(SELECT 1 FROM sqlite_stat1 WHERE idx = '{index}')"
        )


def downgrade() -> None:
    """Go back to the tree of boxes, which the older program fills."""
    if op.get_bind().dialect.name == "postgresql":
        for function in FUNCTIONS:
            op.execute(f"DROP FUNCTION IF EXISTS {function}")
    else:
        drop_spatial_indexes(op.get_bind(), OBSCORE)
        for statement in OLD_TREE:
            op.execute(statement)

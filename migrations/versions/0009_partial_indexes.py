"""Indexes of columns that few rows have hold those rows only; PostgreSQL gathers no statistics of
columns that no query is planned by."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from app.adql.spatial_index import RegionColumns

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

PARTIAL = {
    "recipe_key": "recipe_key IS NOT NULL",
    "file_path": "file_path <> ''",
    "lsst_tract,lsst_patch": "lsst_tract IS NOT NULL",
}
"""Columns -> the rows that an index of them holds."""

PRESUMED = "1000000 20000 200"
"""What SQLite takes an index of tracts and patches for until ANALYZE has seen rows (as 0002)."""

UNUSED = ("s_region", "file_checksum", "image_ref")


def upgrade() -> None:
    """Make the indexes anew."""
    for columns, condition in PARTIAL.items():
        exchange(columns, sa.text(condition))
    set_statistics(0)


def downgrade() -> None:
    """Index every row again."""
    for columns in PARTIAL:
        exchange(columns, None)
    set_statistics(-1)


def exchange(columns: str, condition: sa.TextClause | None) -> None:
    """Drop an index of obscore and make it with the condition."""
    names = columns.split(",")
    index = "_".join(["obscore", *names])
    op.drop_index(index, "obscore")
    where = {"sqlite_where": condition, "postgresql_where": condition}
    op.create_index(index, "obscore", names, **(where if condition is not None else {}))
    if len(names) > 1 and op.get_bind().dialect.name == "sqlite":
        op.execute(
            f"INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES ('obscore', '{index}', '{PRESUMED}')"
        )


def set_statistics(target: int) -> None:
    """How finely ANALYZE looks at the columns: 0 not at all, -1 as at others."""
    if op.get_bind().dialect.name == "postgresql":
        beside = [name for name, _ in RegionColumns.of("s_region").types()]
        for name in (*UNUSED, *beside):
            op.execute(f'ALTER TABLE obscore ALTER COLUMN "{name}" SET STATISTICS {target}')

"""Differences that can be built are rows of ObsCore; products tell whether they are stale."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from app.stores.tables.origins import exchange_origins

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
OLD_ORIGINS = ("ingested", "built", "external")
NEW_ORIGINS = (*OLD_ORIGINS, "virtual")

PRESUMED = "1000000 500000"
"""What SQLite takes the index of build_state for until ANALYZE has seen rows (as 0002)."""


def upgrade() -> None:
    """Add the columns. Every place with a calibrated exposure is to be looked at."""
    for name in ("build_state", "difference_of"):
        op.add_column("obscore", sa.Column(name, TEXT))
    exchange_origins(op.get_bind(), OLD_ORIGINS, NEW_ORIGINS)
    op.execute("UPDATE obscore SET build_state = 'built' WHERE origin = 'built'")
    create_index("build_state", unique=False)
    create_index("difference_of", unique=True)
    if op.get_bind().dialect.name == "sqlite":
        op.execute(
            "INSERT INTO sqlite_stat1 (tbl, idx, stat) "
            f"VALUES ('obscore', 'obscore_build_state', '{PRESUMED}')"
        )
    key = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "changed_place",
        sa.Column("row_id", key, primary_key=True),
        sa.Column("s_region", TEXT, nullable=False),
        sa.Column("lsst_band", TEXT, nullable=False),
        sa.Column("thorough", sa.Boolean(), nullable=False),
    )
    op.execute(
        "INSERT INTO changed_place (s_region, lsst_band, thorough) "
        "SELECT s_region, lsst_band, false FROM obscore WHERE origin = 'ingested' "
        "AND calib_level = 2 AND s_region IS NOT NULL AND lsst_band IS NOT NULL ORDER BY row_id"
    )


def create_index(column: str, *, unique: bool) -> None:
    """Of the rows that have a value."""
    known = sa.text(f"{column} IS NOT NULL")
    op.create_index(
        f"obscore_{column}",
        "obscore",
        [column],
        unique=unique,
        sqlite_where=known,
        postgresql_where=known,
    )


def downgrade() -> None:
    """Drop what can be built from the list."""
    op.drop_table("changed_place")
    op.execute("DELETE FROM obscore WHERE origin = 'virtual'")
    exchange_origins(op.get_bind(), NEW_ORIGINS, OLD_ORIGINS)
    for name in ("build_state", "difference_of"):
        op.drop_index(f"obscore_{name}", "obscore")
        op.drop_column("obscore", name)

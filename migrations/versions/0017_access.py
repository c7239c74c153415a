"""Tokens of those who use the service, and the collections that restrict products."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Create the table and the column."""
    op.create_table(
        "access_token",
        sa.Column("name", TEXT, primary_key=True),
        sa.Column("digest", TEXT, nullable=False, unique=True),
        sa.Column("role", TEXT, nullable=False),
        sa.Column("collections", TEXT, nullable=False),
        sa.Column("created", TEXT, nullable=False),
        sa.Column("expires", TEXT),
        sa.Column("revoked", TEXT),
    )
    op.add_column("obscore", sa.Column("restricted_by", TEXT))


def downgrade() -> None:
    """Drop them."""
    op.drop_column("obscore", "restricted_by")
    op.drop_table("access_token")

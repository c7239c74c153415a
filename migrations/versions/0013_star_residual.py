"""What a difference leaves of stars."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; it is null for products that were built before."""
    op.add_column("build_quality", sa.Column("star_residual", sa.Double()))


def downgrade() -> None:
    """Drop it."""
    op.drop_column("build_quality", "star_residual")

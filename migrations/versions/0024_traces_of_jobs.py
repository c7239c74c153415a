"""The trace that the request which made a job belongs to."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Create the column."""
    op.add_column("job", sa.Column("traceparent", TEXT))


def downgrade() -> None:
    """Drop it."""
    op.drop_column("job", "traceparent")

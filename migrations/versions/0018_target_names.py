"""Targets are found by their names in any case."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the index."""
    op.create_index("obscore_target_name_folded", "obscore", [sa.text("lower(target_name)")])


def downgrade() -> None:
    """Drop it."""
    op.drop_index("obscore_target_name_folded", "obscore")

"""Who asked for a job, and the turn in which it is run: everybody's next job comes before anybody's
one after that."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Create the columns and their indexes. Jobs that wait keep their order."""
    op.add_column("job", sa.Column("account", TEXT, nullable=False, server_default=""))
    op.add_column("job", sa.Column("turn", sa.BigInteger, nullable=False, server_default="0"))
    op.execute("UPDATE job SET account = owner WHERE owner IS NOT NULL")
    op.drop_index("job_phase_kind", "job")
    order = ["phase", "kind", "turn", "creation_time", "job_id"]
    op.create_index("job_turn", "job", order)
    op.create_index("job_newest_turn", "job", ["kind", "turn"])
    op.create_index("job_account_turn", "job", ["account", "kind", "turn"])
    op.create_index("job_account_phase", "job", ["account", "phase"])


def downgrade() -> None:
    """Drop them."""
    for name in ("job_account_phase", "job_account_turn", "job_newest_turn", "job_turn"):
        op.drop_index(name, "job")
    op.create_index("job_phase_kind", "job", ["phase", "kind", "creation_time"])
    op.drop_column("job", "turn")
    op.drop_column("job", "account")

"""How many bytes each job holds, so that an account may have a limit of them."""

from __future__ import annotations

import json

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0021"
branch_labels = None
depends_on = None

NAMES = ("upload_bytes", "held_bytes")


def upgrade() -> None:
    """Create the columns and the index of their sums; results that there are count."""
    for name in NAMES:
        op.add_column("job", sa.Column(name, sa.BigInteger, nullable=False, server_default="0"))
    connection = op.get_bind()
    job = sa.table("job", sa.column("job_id"), sa.column("results"), sa.column("held_bytes"))
    query = sa.select(job.c.job_id, job.c.results).where(job.c.results != "[]")
    for job_id, results in connection.execute(query).all():
        held = sum(each.get("size_bytes") or 0 for each in json.loads(results))
        connection.execute(job.update().where(job.c.job_id == job_id).values(held_bytes=held))
    op.create_index("job_account_bytes", "job", ["account", "held_bytes"])


def downgrade() -> None:
    """Drop them."""
    op.drop_index("job_account_bytes", "job")
    for name in reversed(NAMES):
        op.drop_column("job", name)

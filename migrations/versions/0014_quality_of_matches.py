"""Form, widths and scatter of a match, and the share of useless pixels."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
NUMBERS = (
    "masked_fraction",
    "kernel_sum_scatter",
    "science_fwhm_arcsec",
    "template_fwhm_arcsec",
)


def upgrade() -> None:
    """Add the columns; they are null for products that were built before."""
    op.add_column("build_quality", sa.Column("method", TEXT))
    for name in NUMBERS:
        op.add_column("build_quality", sa.Column(name, sa.Double()))


def downgrade() -> None:
    """Drop them."""
    for name in ("method", *NUMBERS):
        op.drop_column("build_quality", name)

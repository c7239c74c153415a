"""How good each built image is."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
COUNTS = ("n_inputs", "n_rejected")
NUMBERS = (
    "depth_mag",
    "fwhm_arcsec",
    "noise",
    "zero_point_mag",
    "coverage",
    "median_n_image",
    "clipped_fraction",
    "kernel_sum",
    "photometric_scale",
)
STAMPS = ("stamps_used", "stamps_rejected")
RESIDUALS = ("stamp_chi", "pull_sigma", "variance_factor", "bright_chi")


def upgrade() -> None:
    """Create the table; products that were built before have no row in it."""
    op.create_table(
        "build_quality",
        sa.Column(
            "obs_publisher_did",
            TEXT,
            sa.ForeignKey("obscore.obs_publisher_did", ondelete="CASCADE", onupdate="CASCADE"),
            primary_key=True,
        ),
        *(sa.Column(name, sa.BigInteger()) for name in COUNTS),
        *(sa.Column(name, sa.Double()) for name in NUMBERS),
        *(sa.Column(name, sa.BigInteger()) for name in STAMPS),
        *(sa.Column(name, sa.Double()) for name in RESIDUALS),
    )
    op.create_index("build_quality_folded", "build_quality", [sa.text("lower(obs_publisher_did)")])


def downgrade() -> None:
    """Drop it."""
    op.drop_table("build_quality")

"""Inputs, settings, PSF, positions and duration of each build."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
COUNTS = ("n_exposures", "n_psf", "n_psf_stars", "blank_pixels")
NUMBERS = ("box_noise_ratio", "effective_time_s", "position_error_px", "build_s")
WORDS = ("kernel", "statistic", "warp", "missing_patches")


def upgrade() -> None:
    """Add the columns; they are null for products that were built before."""
    for names, kind in ((COUNTS, sa.BigInteger()), (NUMBERS, sa.Double()), (WORDS, TEXT)):
        for name in names:
            op.add_column("build_quality", sa.Column(name, kind))


def downgrade() -> None:
    """Drop them."""
    for name in (*COUNTS, *NUMBERS, *WORDS):
        op.drop_column("build_quality", name)

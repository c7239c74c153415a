"""Sources found on difference images."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from app.schema.dia_source import DIA_SOURCE
from app.stores.tables.spatial import create_spatial_indexes, drop_spatial_indexes

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
PLACE = ("midpoint_mjd_tai", "ra", "dec", "ra_err", "dec_err", "x", "y", "x_err", "y_err")
FLUXES = (
    "snr",
    "psf_flux",
    "psf_flux_err",
    "psf_inst_flux",
    "psf_inst_flux_err",
    "psf_chi2",
    "science_flux",
    "science_flux_err",
    "template_flux",
    "template_flux_err",
    "ap_flux",
    "ap_flux_err",
    "ap_radius",
)
SHAPE = ("ixx", "iyy", "ixy", "positive_ratio", "reliability")
DIPOLE = (
    "dipole_mean_flux",
    "dipole_flux_diff",
    "dipole_snr",
    "dipole_length",
    "dipole_angle",
    "dipole_chi2",
)
COUNTS = ("psf_ndata", "footprint_area")
FLAGS = (
    "is_negative",
    "is_dipole",
    "pixel_flags_bad",
    "pixel_flags_cr",
    "pixel_flags_interpolated",
    "pixel_flags_suspect",
    "pixel_flags_saturated",
    "pixel_flags_saturated_template",
    "pixel_flags_edge",
    "pixel_flags_nodata",
    "bright_neighbour_flag",
    "centroid_flag",
    "shape_flag",
)


def upgrade() -> None:
    """Create the table with its indexes; products that were built before have no row in it."""
    key = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    image = sa.ForeignKey("obscore.obs_publisher_did", ondelete="CASCADE", onupdate="CASCADE")
    op.create_table(
        "dia_source",
        sa.Column("row_id", key, primary_key=True),
        sa.Column("dia_source_id", sa.BigInteger(), nullable=False),
        sa.Column("obs_publisher_did", TEXT, image, nullable=False),
        sa.Column("band", TEXT),
        *(sa.Column(name, sa.Double()) for name in (*PLACE, *FLUXES, *SHAPE, *DIPOLE)),
        *(sa.Column(name, sa.BigInteger()) for name in (*COUNTS, *FLAGS)),
    )
    for column in ("dia_source_id", "obs_publisher_did"):
        op.create_index(f"dia_source_{column}", "dia_source", [column])
    create_spatial_indexes(op.get_bind(), DIA_SOURCE)
    op.add_column("build_quality", sa.Column("n_dia_sources", sa.BigInteger()))


def downgrade() -> None:
    """Drop them."""
    op.drop_column("build_quality", "n_dia_sources")
    drop_spatial_indexes(op.get_bind(), DIA_SOURCE)
    op.drop_table("dia_source")

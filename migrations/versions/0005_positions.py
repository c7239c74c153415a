"""PostgreSQL: positions under an index of plane points."""

from __future__ import annotations

from pathlib import Path

from alembic import op

from app.adql.spatial_index import plane_position

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

SQL = Path(__file__).resolve().parents[1] / "sql"

FUNCTIONS = (
    "adql_frame(float8[], int)",
    "adql_reach(float8, float8, float8, int)",
)


def upgrade() -> None:
    """Create the functions of frames on the sky and index the positions of ObsCore."""
    if op.get_bind().dialect.name == "postgresql":
        text = (SQL / "0005_positions.postgresql.sql").read_text(encoding="utf-8")
        op.get_bind().exec_driver_sql(text.replace("%", "%%"))
        position = plane_position("s_ra", "s_dec")
        op.execute(f"CREATE INDEX obscore_s_ra_s_dec ON obscore USING gist ({position})")


def downgrade() -> None:
    """Drop them."""
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP INDEX obscore_s_ra_s_dec")
        for function in FUNCTIONS:
            op.execute(f"DROP FUNCTION {function}")

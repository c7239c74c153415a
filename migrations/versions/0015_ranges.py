"""PostgreSQL: boxes in longitude and latitude (SIA's RANGE) against regions."""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

SQL = Path(__file__).resolve().parents[1] / "sql"

FUNCTIONS = (
    "adql_meets_range(float8[], float8, float8, float8, float8)",
    "adql_in_range(float8, float8, float8, float8, float8, float8)",
)


def upgrade() -> None:
    """Create the functions."""
    if op.get_bind().dialect.name == "postgresql":
        text = (SQL / "0015_ranges.postgresql.sql").read_text(encoding="utf-8")
        op.get_bind().exec_driver_sql(text.replace("%", "%%"))


def downgrade() -> None:
    """Drop them."""
    if op.get_bind().dialect.name == "postgresql":
        for function in FUNCTIONS:
            op.execute(f"DROP FUNCTION {function}")

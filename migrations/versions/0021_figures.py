"""PostgreSQL: exact tests of geometries."""

from __future__ import annotations

import re
from pathlib import Path

from alembic import op

revision = "0021"
down_revision = "0019"
branch_labels = None
depends_on = None

SQL = Path(__file__).resolve().parents[1] / "sql" / "0021_figures.postgresql.sql"


def upgrade() -> None:
    """Create the functions."""
    if op.get_bind().dialect.name == "postgresql":
        text = SQL.read_text(encoding="utf-8")
        op.get_bind().exec_driver_sql(text.replace("%", "%%"))


def downgrade() -> None:
    """Drop them."""
    if op.get_bind().dialect.name != "postgresql":
        return
    names = re.findall(r"^CREATE FUNCTION (\w+)", SQL.read_text(encoding="utf-8"), re.MULTILINE)
    for name in names:
        op.execute(f"DROP FUNCTION {name}")

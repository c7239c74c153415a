"""PostgreSQL: exact tests of geometries for databases without pgSphere."""

from __future__ import annotations

import re
from pathlib import Path

from alembic import op

from app.errors import StoreUnavailableError
from app.stores.pgsphere import has_pgsphere

revision = "0021"
down_revision = "0019"
branch_labels = None
depends_on = None

SQL = Path(__file__).resolve().parents[1] / "sql" / "0021_figures.postgresql.sql"


def upgrade() -> None:
    """Create the functions, with pgSphere too: a dump may be restored where there is none."""
    if op.get_bind().dialect.name == "postgresql":
        text = SQL.read_text(encoding="utf-8")
        op.get_bind().exec_driver_sql(text.replace("%", "%%"))


def downgrade() -> None:
    """Drop them. Raises StoreUnavailableError where nothing else makes exact tests."""
    if op.get_bind().dialect.name != "postgresql":
        return
    if not has_pgsphere(op.get_bind()):
        raise StoreUnavailableError("older versions of Skyloom need pgSphere in this database")
    names = re.findall(r"^CREATE FUNCTION (\w+)", SQL.read_text(encoding="utf-8"), re.MULTILINE)
    for name in names:
        op.execute(f"DROP FUNCTION {name}")

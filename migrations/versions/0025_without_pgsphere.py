"""PostgreSQL: databases in which pgSphere made exact tests go on without; circles are written in
degrees. The extension itself stays: others may use it."""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None

SQL = Path(__file__).resolve().parents[1] / "sql"


def upgrade() -> None:
    """Drop the function that made pgSphere's polygons and the columns that held some."""
    if op.get_bind().dialect.name != "postgresql":
        return
    op.execute("DROP FUNCTION IF EXISTS adql_polygon(float8[])")
    for table, column in _kept_polygons():
        op.execute(f'ALTER TABLE "{table}" DROP COLUMN "{column}"')
    text = (SQL / "0025_near.postgresql.sql").read_text(encoding="utf-8")
    op.get_bind().exec_driver_sql(text)


def downgrade() -> None:
    """Go back to circles in radians."""
    if op.get_bind().dialect.name == "postgresql":
        text = (SQL / "0021_figures.postgresql.sql").read_text(encoding="utf-8")
        near = next(each for each in text.split("$$;") if "FUNCTION adql_near" in each)
        op.execute(near.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION") + "$$")


def _kept_polygons() -> list[tuple[str, str]]:
    """Tables and columns."""
    query = (
        "SELECT table_name, column_name FROM information_schema.columns AS c"
        " WHERE table_schema = current_schema() AND column_name LIKE '%%\\_spoly' AND EXISTS"
        " (SELECT 1 FROM information_schema.columns AS beside"
        " WHERE beside.table_schema = c.table_schema AND beside.table_name = c.table_name"
        " AND beside.column_name = replace(c.column_name, '_spoly', '_bounds'))"
    )
    return [(str(a), str(b)) for a, b in op.get_bind().exec_driver_sql(query).all()]

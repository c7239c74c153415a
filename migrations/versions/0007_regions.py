"""PostgreSQL: regions found by bounds in longitude and latitude and settled by circles."""

from __future__ import annotations

from pathlib import Path

from alembic import op

from app.stores.tables.region_columns import add_columns, create_index, drop_columns, put_beside
from app.stores.tables.spatial import rows_after

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

SQL = Path(__file__).resolve().parents[1] / "sql"

FUNCTIONS = (
    "adql_tangent(float8, float8, float8, float8, float8, float8)",
    "adql_apart(float8, float8, float8, float8, float8, float8)",
)


def upgrade() -> None:
    """Put the new columns beside the regions of ObsCore and fill them."""
    connection = op.get_bind()
    if connection.dialect.name != "postgresql":
        return
    text = (SQL / "0007_regions.postgresql.sql").read_text(encoding="utf-8")
    connection.exec_driver_sql(text.replace("%", "%%"))
    for statement in add_columns("obscore", "s_region"):
        op.execute(statement)
    chunks = rows_after(connection, "obscore", ("s_region",), 0)
    put_beside(connection, "obscore", "s_region", chunks)
    op.execute(create_index("obscore", "s_region"))
    # Always empty; lets init and doctor see at once whether every region has its bounds.
    op.execute(
        "CREATE INDEX obscore_unindexed_region ON obscore (row_id) "
        "WHERE s_region IS NOT NULL AND s_region_bounds IS NULL"
    )


def downgrade() -> None:
    """Drop them; the indexes go with them."""
    if op.get_bind().dialect.name != "postgresql":
        return
    op.execute("DROP INDEX obscore_unindexed_region")
    for statement in drop_columns("obscore", "s_region"):
        op.execute(statement)
    for function in FUNCTIONS:
        op.execute(f"DROP FUNCTION {function}")

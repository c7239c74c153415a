"""Functions that compiled queries call on PostgreSQL; SQLite is taught them at connecting."""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

SQL = Path(__file__).resolve().parents[1] / "sql"

FUNCTIONS = (
    "adql_healpix(double precision, double precision, double precision)",
    "adql_spread(bigint)",
    "adql_random_of(text)",
    "adql_interval_has(double precision, text)",
    "adql_bound(text)",
    "adql_hasword(text, text)",
    "adql_words(text)",
    "adql_mjd(text)",
    "adql_cast_timestamp(text)",
    "adql_instant(text)",
    "adql_boolean_text(boolean)",
    "adql_real_text(double precision)",
    "adql_cast_single(double precision)",
    "adql_cast_double(text)",
    "adql_cast_whole(boolean, bigint, bigint)",
    "adql_cast_whole(text, bigint, bigint)",
    "adql_cast_whole(double precision, bigint, bigint)",
    "adql_cast_whole(bigint, bigint, bigint)",
)


def upgrade() -> None:
    """Create the functions."""
    if op.get_bind().dialect.name == "postgresql":
        text = (SQL / "0004_functions.postgresql.sql").read_text(encoding="utf-8")
        op.get_bind().exec_driver_sql(text)


def downgrade() -> None:
    """Drop them."""
    if op.get_bind().dialect.name == "postgresql":
        for function in FUNCTIONS:
            op.execute(f"DROP FUNCTION {function}")

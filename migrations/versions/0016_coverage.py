"""Sky coverage of the images of each kind, and what changed since it was computed.

Triggers write down which regions went, whoever deletes or moves rows; new rows are known by their
numbers.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
GROUPED = {
    "obs_collection": TEXT,
    "dataproduct_type": TEXT,
    "dataproduct_subtype": TEXT,
    "calib_level": sa.BigInteger(),
    "em_min": sa.Double(),
    "em_max": sa.Double(),
}
NEEDED = ("obs_collection", "calib_level")
NAMES = ", ".join((*GROUPED, "s_region"))
IS_KEPT = "(SELECT through FROM coverage_state) IS NOT NULL"


def old_or_new(row: str) -> str:
    """The columns of a change, of ``old`` or ``new``."""
    return ", ".join(f"{row}.{name}" for name in (*GROUPED, "s_region"))


def differs(operator: str) -> str:
    """Whether an update changes what a map is made of."""
    return " OR ".join(f"old.{name} {operator} new.{name}" for name in (*GROUPED, "s_region"))


BOTH = (
    f"INSERT INTO coverage_change ({NAMES}, came) VALUES ({old_or_new('old')}, false); "
    f"INSERT INTO coverage_change ({NAMES}, came) VALUES ({old_or_new('new')}, true);"
)

SQLITE = (
    # SQLite gives the numbers of the last rows to new ones.
    f"CREATE TRIGGER obscore_coverage_delete AFTER DELETE ON obscore WHEN {IS_KEPT} BEGIN "
    f"INSERT INTO coverage_change ({NAMES}, came) VALUES ({old_or_new('old')}, false); "
    "UPDATE coverage_state SET version = version + 1, "
    "through = min(through, (SELECT coalesce(max(row_id), 0) FROM obscore)) "
    "WHERE old.row_id > (SELECT coalesce(max(row_id), 0) FROM obscore); END",
    f"CREATE TRIGGER obscore_coverage_update AFTER UPDATE ON obscore "
    f"WHEN ({differs('IS NOT')}) AND {IS_KEPT} BEGIN {BOTH} END",
)
POSTGRES = (
    "CREATE FUNCTION obscore_coverage_delete() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
    f"IF {IS_KEPT} THEN INSERT INTO coverage_change ({NAMES}, came) "
    f"SELECT {NAMES}, false FROM gone; END IF; RETURN NULL; END $$",
    "CREATE TRIGGER obscore_coverage_delete AFTER DELETE ON obscore "
    "REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION obscore_coverage_delete()",
    "CREATE FUNCTION obscore_coverage_update() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
    f"IF {IS_KEPT} THEN {BOTH} END IF; RETURN NULL; END $$",
    "CREATE TRIGGER obscore_coverage_update AFTER UPDATE ON obscore FOR EACH ROW "
    f"WHEN ({differs('IS DISTINCT FROM')}) EXECUTE FUNCTION obscore_coverage_update()",
)


def upgrade() -> None:
    """Create tables and triggers. Nothing is computed before somebody asks."""
    grouped = [sa.Column(name, kind, nullable=name not in NEEDED) for name, kind in GROUPED.items()]
    op.create_table(
        "coverage",
        *grouped,
        sa.Column("moc_order", sa.BigInteger(), nullable=False),
        sa.Column("coverage", TEXT, nullable=False),
        sa.Column("row_id", KEY, primary_key=True),
    )
    op.create_table(
        "coverage_change",
        sa.Column("row_id", KEY, primary_key=True),
        *(sa.Column(name, kind) for name, kind in GROUPED.items()),
        sa.Column("s_region", TEXT),
        sa.Column("came", sa.Boolean(), nullable=False),
    )
    op.create_table(
        "coverage_state",
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("through", sa.BigInteger()),
        sa.Column("modified", TEXT, nullable=False),
    )
    op.execute("INSERT INTO coverage_state (version, modified) VALUES (0, '')")
    engine = op.get_bind().dialect.name
    for statement in SQLITE if engine == "sqlite" else POSTGRES:
        op.get_bind().exec_driver_sql(statement)


def downgrade() -> None:
    """Drop them."""
    on_table = "" if op.get_bind().dialect.name == "sqlite" else " ON obscore"
    for event in ("delete", "update"):
        op.execute(f"DROP TRIGGER obscore_coverage_{event}{on_table}")
        if on_table:
            op.execute(f"DROP FUNCTION obscore_coverage_{event}()")
    for table in ("coverage_state", "coverage_change", "coverage"):
        op.drop_table(table)

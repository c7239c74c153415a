"""Tables that users publish, and rows of ObsCore whose images lie elsewhere."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
LONG = sa.BigInteger()

OLD_ORIGINS = "origin IN ('ingested', 'built')"
NEW_ORIGINS = "origin IN ('ingested', 'built', 'external')"


def upgrade() -> None:
    """Create the registry; let ObsCore hold rows of other services."""
    op.create_table(
        "published_table",
        sa.Column("name", TEXT, primary_key=True),
        sa.Column("physical", TEXT, nullable=False, unique=True),
        sa.Column("definition", TEXT, nullable=False),
        sa.Column("row_count", LONG, nullable=False),
        sa.Column("source", TEXT, nullable=False),
        sa.Column("published", TEXT, nullable=False),
    )
    op.create_table("discarded_table", sa.Column("physical", TEXT, primary_key=True))
    version = op.create_table("catalog_version", sa.Column("version", LONG, nullable=False))
    op.bulk_insert(version, [{"version": 0}])
    set_origins(OLD_ORIGINS, NEW_ORIGINS)


def set_origins(old: str, new: str) -> None:
    """Exchange the check of ``obscore.origin``.

    SQLite cannot alter a check; its manual (lang_altertable, section 7) edits the stored text of
    the table for such a change, which touches no row. Making the table anew would delete
    provenance through the foreign key.
    """
    connection = op.get_bind()
    if connection.dialect.name == "postgresql":
        op.drop_constraint("obscore_origin", "obscore")
        op.create_check_constraint("obscore_origin", "obscore", new)
        return
    schema = int(connection.exec_driver_sql("PRAGMA schema_version").scalar_one())
    connection.exec_driver_sql("PRAGMA writable_schema = ON")
    changed = connection.execute(
        sa.text(
            "UPDATE sqlite_schema SET sql = replace(sql, :old, :new) "
            "WHERE type = 'table' AND name = 'obscore' AND instr(sql, :old) > 0"
        ),
        {"old": old, "new": new},
    ).rowcount
    connection.exec_driver_sql(f"PRAGMA schema_version = {schema + 1:d}")
    connection.exec_driver_sql("PRAGMA writable_schema = OFF")
    if changed != 1:
        raise RuntimeError("the check of obscore.origin could not be changed")


def downgrade() -> None:
    """Drop what users published, and rows of other services."""
    connection = op.get_bind()
    published = sa.table("published_table", sa.column("physical"))
    discarded = sa.table("discarded_table", sa.column("physical"))
    names = sa.select(published.c.physical).union(sa.select(discarded.c.physical))
    connection.execute(sa.text("DELETE FROM obscore WHERE origin = 'external'"))
    for name in connection.execute(names).scalars().all():
        drop(connection, name)
    for table in ("catalog_version", "discarded_table", "published_table"):
        op.drop_table(table)
    set_origins(NEW_ORIGINS, OLD_ORIGINS)


def drop(connection: sa.Connection, physical: str) -> None:
    """Drop a published table and the indexes that are called after it."""
    tables = sa.inspect(connection).get_table_names()
    for name in sorted(tables):
        if name.startswith(f"{physical}_") and name.endswith(("_outline", "_position")):
            op.drop_table(name)
    op.drop_table(physical)

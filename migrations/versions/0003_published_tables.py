"""Tables that users publish, and rows of ObsCore whose images lie elsewhere."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from app.stores.tables.origins import exchange_origins

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
LONG = sa.BigInteger()

OLD_ORIGINS = ("ingested", "built")
NEW_ORIGINS = (*OLD_ORIGINS, "external")


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
    exchange_origins(op.get_bind(), OLD_ORIGINS, NEW_ORIGINS)


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
    exchange_origins(op.get_bind(), NEW_ORIGINS, OLD_ORIGINS)


def drop(connection: sa.Connection, physical: str) -> None:
    """Drop a published table and the indexes that are called after it."""
    tables = sa.inspect(connection).get_table_names()
    for name in sorted(tables):
        if name.startswith(f"{physical}_") and name.endswith(("_outline", "_position")):
            op.drop_table(name)
    op.drop_table(physical)

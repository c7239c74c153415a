"""Sources of differences that are not public go where no query comes."""

from __future__ import annotations

from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

from app.schema.access import Rights, rights_of
from app.schema.dia_source import DIA_SOURCE
from app.stores.tables.spatial import index_rows

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
REQUIRED = ("dia_source_id", "obs_publisher_did")


def upgrade() -> None:
    """Create their table, with what is to be held."""
    key = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    image = sa.ForeignKey("obscore.obs_publisher_did", ondelete="CASCADE", onupdate="CASCADE")
    measured = [each for each in _columns() if each["name"] not in REQUIRED]
    op.create_table(
        "held_source",
        sa.Column("row_id", key, primary_key=True),
        sa.Column("dia_source_id", sa.BigInteger(), nullable=False),
        sa.Column("obs_publisher_did", TEXT, image, nullable=False),
        *(sa.Column(each["name"], each["type"]) for each in measured),
        sa.Column("release_date", TEXT),
    )
    for column in ("obs_publisher_did", "release_date"):
        op.create_index(f"held_source_{column}", "held_source", [column])
    for product, rights in _restricted():
        _hold(product, rights)


def downgrade() -> None:
    """Show them all again, and drop it."""
    bind, names = op.get_bind(), _names()
    newest = bind.execute(sa.text("SELECT coalesce(max(row_id), 0) FROM dia_source")).scalar_one()
    bind.exec_driver_sql(f"INSERT INTO dia_source ({names}) SELECT {names} FROM held_source")
    index_rows(bind, DIA_SOURCE, after=newest)
    op.drop_table("held_source")


def _columns() -> list[sa.engine.interfaces.ReflectedColumn]:
    found = sa.inspect(op.get_bind()).get_columns("dia_source")
    return [column for column in found if column["name"] != "row_id"]


def _names() -> str:
    return ", ".join(column["name"] for column in _columns())


def _restricted() -> list[tuple[str, Rights]]:
    """Products with sources that are not public now."""
    query = sa.text(
        "SELECT obs_publisher_did, data_rights, obs_release_date, obs_collection FROM obscore "
        "WHERE obs_publisher_did IN (SELECT obs_publisher_did FROM dia_source) "
        "AND (data_rights <> 'public' OR obs_release_date IS NOT NULL)"
    )
    rows = op.get_bind().execute(query).mappings().all()
    found = [(str(row["obs_publisher_did"]), rights_of(row)) for row in rows]
    return [(name, rights) for name, rights in found if not rights.is_public(datetime.now(UTC))]


def _hold(product: str, rights: Rights) -> None:
    release = rights.release
    date = None if release is None else release.astimezone(UTC).isoformat(timespec="microseconds")
    bind, names = op.get_bind(), _names()
    copy = (
        f"INSERT INTO held_source ({names}, release_date) SELECT {names}, :date FROM dia_source "
        "WHERE obs_publisher_did = :product ORDER BY row_id"
    )
    bind.execute(sa.text(copy), {"product": product, "date": date})
    delete = "DELETE FROM dia_source WHERE obs_publisher_did = :product"
    bind.execute(sa.text(delete), {"product": product})

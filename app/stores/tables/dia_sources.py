"""The sources of a difference image in the database, with their place in the spatial index."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from app.schema.dia_source import DIA_SOURCE
from app.schema.rows import SourceRow
from app.stores.tables.physical import dia_source
from app.stores.tables.spatial import index_rows


def replace_sources(
    connection: sa.Connection, product_id: str, sources: Sequence[SourceRow]
) -> None:
    """Write the rows of a product (spelled as it is stored) in place of those there were."""
    connection.execute(dia_source.delete().where(dia_source.c.obs_publisher_did == product_id))
    if not sources:
        return
    newest = connection.execute(sa.select(sa.func.max(dia_source.c.row_id))).scalar_one() or 0
    connection.execute(dia_source.insert(), list(sources))
    index_rows(connection, DIA_SOURCE, after=newest)

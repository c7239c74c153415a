"""The sources of a difference image in the database, with their place in the spatial index.

Those of a difference that is not public are kept where no query comes until it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import sqlalchemy as sa

from app.schema.access import Rights
from app.schema.dia_source import DIA_SOURCE
from app.schema.rows import SourceRow
from app.stores.tables.physical import dia_source, held_source
from app.stores.tables.spatial import index_rows

_COLUMNS: Final = [held_source.c[field.physical] for field in DIA_SOURCE.fields]


def replace_sources(
    connection: sa.Connection,
    product_id: str,
    sources: Sequence[SourceRow],
    *,
    rights: Rights,
    now: datetime,
) -> None:
    """Write the rows of a product (spelled as it is stored) in place of those there were, for
    everybody or until the release of the product for nobody."""
    for table in (dia_source, held_source):
        connection.execute(table.delete().where(table.c.obs_publisher_did == product_id))
    if rights.is_public(now):
        _show(connection, sources)
    elif sources:
        date = None if rights.release is None else _text(rights.release)
        connection.execute(held_source.insert(), [{**row, "release_date": date} for row in sources])


def release_sources(connection: sa.Connection, now: datetime) -> int:
    """Show the sources of a product whose release date has come; how many, 0 when there is none."""
    due = held_source.c.release_date <= _text(now)
    product = sa.select(held_source.c.obs_publisher_did).where(due).limit(1).scalar_subquery()
    theirs = held_source.c.obs_publisher_did == product
    taken = held_source.delete().where(theirs).returning(*_COLUMNS)
    sources = [dict(row) for row in connection.execute(taken).mappings()]
    _show(connection, sorted(sources, key=_number))
    return len(sources)


def _show(connection: sa.Connection, sources: Sequence[SourceRow]) -> None:
    if not sources:
        return
    newest = connection.execute(sa.select(sa.func.max(dia_source.c.row_id))).scalar_one() or 0
    connection.execute(dia_source.insert(), list(sources))
    index_rows(connection, DIA_SOURCE, after=newest)


def _number(source: Mapping[str, Any]) -> int:
    return int(source["dia_source_id"])


def _text(instant: datetime) -> str:
    """Compares as the instants do."""
    return instant.astimezone(UTC).isoformat(timespec="microseconds")

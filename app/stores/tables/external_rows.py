"""ObsCore rows of other services, by the tens of thousands: upserted with their indexes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from app.recipes.recipe import ImageRef
from app.schema.obscore import OBSCORE
from app.stores.database import write_transaction
from app.stores.tables.bulk import insert_batch
from app.stores.tables.bulk_index import sky_order
from app.stores.tables.datasets import UpsertCounts
from app.stores.tables.digests import as_text, row_digests
from app.stores.tables.physical import obscore
from app.stores.tables.region_columns import region_values
from app.stores.tables.regions import region_index
from app.stores.tables.spatial import index_rows

NO_IMAGE: Final = ImageRef(dataset_id="", planes=(), grid="").to_text()
"""The image reference of a row whose image lies elsewhere."""

_NAMES: Final = tuple(field.name for field in OBSCORE.fields)

Columns = Mapping[str, pa.Array]
Refused = Callable[[int, str], None]
"""Told the place of a row in its batch, and why it was not taken."""


class ExternalRowStore:
    """Writes rows whose images lie elsewhere (``origin`` external). May raise
    StoreUnavailableError."""

    def __init__(self, *, engine: sa.Engine) -> None:
        self._engine = engine
        self._index = region_index(engine)

    def upsert(
        self, batches: Iterable[Columns], *, on_batch: Callable[[int], None], refused: Refused
    ) -> UpsertCounts:
        """Insert or replace rows by obs_publisher_did (in any case), all or none.

        Each batch holds every column of ObsCore, checked, an identifier once in all of them.
        ``on_batch`` is told how many rows were seen; ``refused`` which rows of the batch at hand
        have the identifier of an image of this service.
        """
        inserted = updated = unchanged = 0
        with write_transaction(self._engine) as connection:
            self._index.lock(connection)
            first, count = connection.execute(
                sa.select(sa.func.coalesce(sa.func.max(obscore.c.row_id), 0), sa.func.count())
            ).one()
            with _indexed_afterwards(connection, is_empty=count == 0):
                seen = 0
                for batch in batches:
                    digests = as_text(row_digests([batch[name] for name in _NAMES]))
                    stored = _stored(connection, batch) if count else {}
                    new, gone, same = _sort_out(batch, digests, stored, refused)
                    if gone:
                        self._index.delete(connection, gone)
                    _insert(connection, batch, digests, new)
                    inserted += len(new) - len(gone)
                    updated += len(gone)
                    unchanged += same
                    seen += len(digests)
                    on_batch(seen)
                _put_in_trees(connection, first)
            connection.exec_driver_sql("ANALYZE obscore")
        return UpsertCounts(inserted, updated, unchanged)


Stored = tuple[int, str, str]
"""row_id, origin and file_checksum."""


def _stored(connection: sa.Connection, batch: Columns) -> dict[str, Stored]:
    """What is stored under the identifiers of a batch."""
    keys = pc.ascii_lower(batch["obs_publisher_did"]).to_pylist()
    shown = "lower(obs_publisher_did), row_id, origin, file_checksum"
    if connection.dialect.name == "sqlite":
        query = (
            f"SELECT {shown} FROM json_each(:keys) AS k "
            "JOIN obscore ON lower(obs_publisher_did) = k.value"
        )
        rows = connection.execute(sa.text(query), {"keys": json.dumps(keys)})
    else:
        query = f"SELECT {shown} FROM obscore WHERE lower(obs_publisher_did) = ANY(:keys)"
        rows = connection.execute(sa.text(query), {"keys": keys})
    return {key: (row_id, origin, digest) for key, row_id, origin, digest in rows}


def _sort_out(
    batch: Columns, digests: list[str], stored: Mapping[str, Stored], refused: Refused
) -> tuple[list[int], list[int], int]:
    """Places of the rows to write, ``row_id`` of those they replace, how many are the same."""
    if not stored:
        return list(range(len(digests))), [], 0
    new: list[int] = []
    gone: list[int] = []
    same = 0
    keys = pc.ascii_lower(batch["obs_publisher_did"]).to_pylist()
    for place, (key, digest) in enumerate(zip(keys, digests, strict=True)):
        row_id, origin, old_digest = stored.get(key, (0, "external", ""))
        if origin != "external":
            refused(place, "belongs to an image of this service")
        elif old_digest == digest:
            same += 1
        else:
            new.append(place)
            gone += [row_id] if row_id else []
    return new, gone, same


def _insert(
    connection: sa.Connection, batch: Columns, digests: list[str], places: list[int]
) -> None:
    """Insert the rows at these places, neighbours on the sky one after another."""
    if not places:
        return
    chosen = pa.array(places, pa.int64())
    order = chosen.take(pa.array(sky_order(batch["s_region"].take(chosen))))
    columns = {name: batch[name].take(order) for name in _NAMES}
    count = len(order)
    hidden = {
        "file_path": pa.repeat("", count),
        "file_hdu": pa.repeat(0, count),
        "file_size": pa.repeat(0, count),
        "file_mtime_ns": pa.repeat(0, count),
        "file_checksum": pa.array(digests, pa.string()).take(order),
        "image_ref": pa.repeat(NO_IMAGE, count),
        "origin": pa.repeat("external", count),
    }
    if connection.dialect.name == "postgresql":
        names = columns["obs_publisher_did"]
        hidden |= region_values(
            connection, "s_region", columns["s_region"], lambda row: str(names[row])
        )
    values = columns | hidden
    insert_batch(connection, "obscore", list(values), list(values.values()))


def _put_in_trees(connection: sa.Connection, after: int) -> None:
    """SQLite: the new rows into the R*Trees."""
    if connection.dialect.name == "sqlite":
        index_rows(connection, OBSCORE, after=after)


@contextmanager
def _indexed_afterwards(connection: sa.Connection, *, is_empty: bool) -> Iterator[None]:
    """Into an empty table rows go first and indexes are made of them then: that is several times
    faster. It happens in the transaction of the rows, so a crash leaves the indexes as they were.
    """
    if not is_empty:
        yield
        return
    indexes = list(_plain_indexes(connection))
    for name, _ in indexes:
        connection.exec_driver_sql(f'DROP INDEX "{name}"')
    yield
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("SET LOCAL maintenance_work_mem = '256MB'")
    for _, statement in indexes:
        connection.exec_driver_sql(statement.replace("%", "%%"))


def _plain_indexes(connection: sa.Connection) -> Iterator[tuple[str, str]]:
    """Name and definition of the indexes of obscore that no constraint needs."""
    if connection.dialect.name == "sqlite":
        query = (
            "SELECT name, sql FROM sqlite_schema "
            "WHERE type = 'index' AND tbl_name = 'obscore' AND sql IS NOT NULL"
        )
    else:
        query = (
            "SELECT c.relname, pg_get_indexdef(i.indexrelid) FROM pg_index i "
            "JOIN pg_class c ON c.oid = i.indexrelid "
            "WHERE i.indrelid = 'obscore'::regclass AND NOT EXISTS "
            "(SELECT 1 FROM pg_constraint k WHERE k.conindid = i.indexrelid)"
        )
    for name, statement in connection.exec_driver_sql(query).all():
        yield str(name), str(statement)

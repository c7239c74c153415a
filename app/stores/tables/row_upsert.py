"""One batch of rows into ObsCore: new ones in, changed ones replaced, the same ones left alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from app.recipes.recipe import ImageRef
from app.stores.tables.dataset_rows import UpsertCounts
from app.stores.tables.physical import obscore
from app.stores.tables.row_batch import RowBatch

NO_IMAGE: Final = ImageRef(dataset_id="", planes=(), grid="").to_text()
"""The image reference of a row whose image lies elsewhere."""

_DELETED_AT_ONCE: Final = 10_000
_SHOWN: Final = "row_id, origin = 'external', file_checksum"

Refused = Callable[[int, str, str], None]
"""Told the number of a row, its identifier, and why it was not taken."""


class RowWriter(Protocol):
    """Puts new rows into obscore and its spatial indexes."""

    def put(self, batch: RowBatch) -> None:
        """Insert rows."""

    def finish(self) -> None:
        """Write what was held back."""


def upsert_batch(
    connection: sa.Connection, writer: RowWriter, batch: RowBatch, refused: Refused
) -> UpsertCounts:
    """Insert or replace the rows of a batch in the transaction of the connection.

    The writer is to be finished after the last batch of the transaction.
    """
    places, row_ids, is_external, digests = _stored(connection, batch)
    is_same = pc.equal(digests, batch.digests.take(places)).to_numpy(zero_copy_only=False)
    places = places.to_numpy()
    for place in places[~is_external].tolist():
        identifier = batch.columns["obs_publisher_did"][place].as_py()
        refused(int(batch.numbers[place]), identifier, "belongs to an image of this service")
    is_new = np.ones(len(batch), bool)
    is_new[places[is_same | ~is_external]] = False
    gone = row_ids[is_external & ~is_same].tolist()
    for start in range(0, len(gone), _DELETED_AT_ONCE):
        some = gone[start : start + _DELETED_AT_ONCE]
        connection.execute(obscore.delete().where(obscore.c.row_id.in_(some)))
    new = int(is_new.sum())
    if new:
        writer.put(batch if new == len(batch) else batch.take(np.flatnonzero(is_new)))
    return UpsertCounts(new - len(gone), len(gone), int((is_same & is_external).sum()))


def hidden_columns(batch: RowBatch) -> Mapping[str, pa.Array]:
    """What obscore keeps of a row beside ObsCore."""
    rows = len(batch)
    return {
        "file_path": pa.repeat("", rows),
        "file_hdu": pa.repeat(0, rows),
        "file_size": pa.repeat(0, rows),
        "file_mtime_ns": pa.repeat(0, rows),
        "file_checksum": batch.digests,
        "image_ref": pa.repeat(NO_IMAGE, rows),
        "origin": pa.repeat("external", rows),
    }


def _stored(connection: sa.Connection, batch: RowBatch) -> tuple[pa.Array, Any, Any, pa.Array]:
    """Of the rows that are there already: place in the batch, row_id, whether they are of another
    service, file_checksum."""
    keys = pc.ascii_lower(batch.columns["obs_publisher_did"]).to_pylist()
    if connection.dialect.name == "sqlite":
        query = (
            f"SELECT k.key, {_SHOWN} FROM json_each(:keys) AS k "
            "JOIN obscore ON lower(obs_publisher_did) = k.value"
        )
        rows = connection.execute(sa.text(query), {"keys": json.dumps(keys)}).all()
    else:
        query = (
            f"SELECT k.place - 1, {_SHOWN} FROM unnest(CAST(:keys AS text[])) "
            "WITH ORDINALITY AS k (name, place) JOIN obscore ON lower(obs_publisher_did) = k.name"
        )
        rows = connection.execute(sa.text(query), {"keys": keys}).all()
    places, row_ids, external, digests = zip(*rows, strict=True) if rows else ((), (), (), ())
    return (
        pa.array(places, pa.int64()),
        np.array(row_ids, np.int64),
        np.array(external, bool),
        pa.array(digests, pa.string()),
    )

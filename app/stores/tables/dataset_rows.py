"""Rows of ObsCore in and out, with their places in the spatial index and what they mean for
products."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from app.schema.rows import Value
from app.stores.tables.build_states import chunks, is_exposure, note_changes
from app.stores.tables.physical import obscore
from app.stores.tables.regions import RegionIndex
from app.stores.tables.rows import fold

Record = dict[str, Value]

FOLDED_ID = sa.func.lower(obscore.c.obs_publisher_did)


@dataclass(frozen=True, slots=True)
class UpsertCounts:
    """What an upsert did, in rows."""

    inserted: int
    updated: int
    unchanged: int


def upsert_rows(
    connection: sa.Connection, index: RegionIndex, records: Mapping[str, Record]
) -> UpsertCounts:
    """Write rows, as many as a statement takes: folded identifier -> record."""
    query = sa.select(obscore).where(FOLDED_ID.in_(records))
    stored = {fold(r["obs_publisher_did"]): r for r in connection.execute(query).mappings()}
    new = [record for key, record in records.items() if key not in stored]
    changed = {
        key: int(old["row_id"])
        for key, old in stored.items()
        if any(old[name] != value for name, value in records[key].items())
    }
    if new:
        index.insert(connection, new)
    if changed:
        index.update(connection, [(row_id, records[key]) for key, row_id in changed.items()])
    old = [dict(stored[key]) for key in changed]
    note_changes(connection, old=old, new=[*new, *(records[key] for key in changed)])
    _unlist(
        connection,
        index,
        [key for key in changed if is_exposure(stored[key]) and not is_exposure(records[key])],
    )
    return UpsertCounts(len(new), len(changed), len(records) - len(new) - len(changed))


def delete_rows(connection: sa.Connection, index: RegionIndex, row_ids: Sequence[int]) -> int:
    """Delete rows and what is known of them; how many."""
    old: list[dict[str, Any]] = []
    for some in chunks(row_ids):
        query = sa.select(obscore).where(obscore.c.row_id.in_(some))
        old += map(dict, connection.execute(query).mappings())
        index.delete(connection, some)
    note_changes(connection, old=old, new=())
    _unlist(connection, index, [fold(row["obs_publisher_did"]) for row in old])
    return len(old)


def _unlist(connection: sa.Connection, index: RegionIndex, exposures: Sequence[str]) -> None:
    """What is no exposure any more (folded identifiers) has no difference that can be built."""
    for some in chunks(exposures):
        query = sa.select(obscore.c.row_id).where(
            obscore.c.difference_of.in_(some), obscore.c.origin == "virtual"
        )
        index.delete(connection, list(connection.execute(query).scalars()))

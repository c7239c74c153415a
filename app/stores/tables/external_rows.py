"""ObsCore rows of other services, by the tens of thousands: upserted with their indexes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Any, Final

import numpy as np
import sqlalchemy as sa

from app.stores.database import read_transaction, sqlite_file, write_transaction
from app.stores.database_faults import database_faults
from app.stores.tables.copied_rows import CopyWriter, indexed_afterwards
from app.stores.tables.dataset_rows import UpsertCounts
from app.stores.tables.planner_statistics import refresh_statistics
from app.stores.tables.regions import region_index
from app.stores.tables.row_batch import RowBatch, stored_batches
from app.stores.tables.row_upsert import Refused, RowWriter, upsert_batch
from app.stores.tables.side_table import SideTable, TreeRowWriter, side_table

MANY_ROWS: Final = 5_000
"""An import that begins with as many fills an empty table by a quicker way."""

MOST_ROWS: Final = 1_000_000
"""Rows that become visible together then, at most; later ones come batch by batch."""

STEP_ROWS: Final = 25_000
"""Rows of a transaction otherwise. Fewer would go into the trees of SQLite one after another."""

Seen = Callable[[], None]

_NONE: Final = UpsertCounts(0, 0, 0)


class ExternalRowStore:
    """Writes rows whose images lie elsewhere (``origin`` external). May raise
    StoreUnavailableError."""

    def __init__(self, *, engine: sa.Engine) -> None:
        self._engine = engine
        self._index = region_index(engine)
        self._file = sqlite_file(engine.url.render_as_string(hide_password=False))

    def upsert(
        self, batches: Iterable[RowBatch], *, on_batch: Seen, refused: Refused
    ) -> UpsertCounts:
        """Insert or replace rows by obs_publisher_did (in any case).

        The rows are checked, an identifier is once in all of them. Each :data:`STEP_ROWS` are a
        transaction, so others may write in between; into an empty table the first
        :data:`MOST_ROWS` go together. ``on_batch`` is called when rows were dealt with;
        ``refused`` is told which rows have the identifier of an image of this service.
        """
        rest = iter(batches)
        first = next(rest, None)
        if first is None:
            return _NONE
        everything = chain([first], rest)
        counts = _NONE
        if len(first) >= MANY_ROWS and self._is_empty():
            counts = self._fill(_first_rows(everything, MOST_ROWS), on_batch, refused)
        return self._steps(everything, on_batch, refused, counts)

    def _steps(
        self, batches: Iterable[RowBatch], on_batch: Seen, refused: Refused, counts: UpsertCounts
    ) -> UpsertCounts:
        written = 0
        rest = iter(batches)
        while step := list(_first_rows(rest, STEP_ROWS)):
            with write_transaction(self._engine) as connection:
                self._index.lock(connection)
                writer = self._writer(connection)
                done = [upsert_batch(connection, writer, batch, refused) for batch in step]
                writer.finish()
            for each in done:
                counts = _sum(counts, each)
                written += each.inserted + each.updated
            on_batch()
        if written:
            refresh_statistics(self._engine, "obscore")
        return counts

    def _writer(self, connection: sa.Connection) -> RowWriter:
        return CopyWriter(connection) if self._file is None else TreeRowWriter(connection)

    def _is_empty(self) -> bool:
        with read_transaction(self._engine) as connection:
            return _is_empty(connection)

    def _fill(self, batches: Iterator[RowBatch], on_batch: Seen, refused: Refused) -> UpsertCounts:
        """Fill the empty table; when somebody was faster, the rows go in beside theirs."""
        if self._file is None:
            inserted = self._fill_at_once(batches, on_batch)
            if inserted is None:
                return self._steps(batches, on_batch, refused, _NONE)
            return UpsertCounts(inserted, 0, 0)
        with (
            database_faults(),
            side_table(self._engine, self._file.with_name(f"{self._file.name}-rows")) as side,
        ):
            numbers = _gather(side, batches, on_batch)
            if side.move():
                return UpsertCounts(len(numbers), 0, 0)
            again = stored_batches(side.connection, numbers)
            return self._steps(again, lambda: None, refused, _NONE)

    def _fill_at_once(self, batches: Iterator[RowBatch], on_batch: Seen) -> int | None:
        """PostgreSQL: all in one transaction, the indexes after the rows; how many, None when the
        table is not empty any more."""
        inserted = 0
        with write_transaction(self._engine) as connection:
            self._index.lock(connection)
            if not _is_empty(connection):
                return None
            with indexed_afterwards(connection):
                writer = CopyWriter(connection)
                for batch in batches:
                    writer.put(batch)
                    inserted += len(batch)
                    on_batch()
        refresh_statistics(self._engine, "obscore")
        return inserted


def _gather(side: SideTable, batches: Iterator[RowBatch], on_batch: Seen) -> Any:
    """Rows into the side table; their numbers in its order."""
    numbers = []
    writer = TreeRowWriter(side.connection)
    for batch in batches:
        writer.put(batch)
        numbers.append(batch.numbers)
        on_batch()
    writer.finish()
    side.finish()
    return np.concatenate(numbers)


def _is_empty(connection: sa.Connection) -> bool:
    query = "SELECT EXISTS (SELECT 1 FROM obscore)"
    return not connection.exec_driver_sql(query).scalar_one()


def _first_rows(batches: Iterator[RowBatch], most: int) -> Iterator[RowBatch]:
    """Batches until there are ``most`` rows; the others stay."""
    taken = 0
    for batch in batches:
        yield batch
        taken += len(batch)
        if taken >= most:
            return


def _sum(a: UpsertCounts, b: UpsertCounts) -> UpsertCounts:
    return UpsertCounts(a.inserted + b.inserted, a.updated + b.updated, a.unchanged + b.unchanged)

"""SQLite: rows for an empty ObsCore, gathered with all their indexes in a file beside the database
and moved into it at once.

Indexes of rows that are there already are made several times faster than row by row, and here it
takes that long without holding other writers up. The move copies pages of the indexes as they are
(SQLite's transfer of a whole table into an empty one of the same definition).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import sqlalchemy as sa

from app.adql.spatial_index import outline_index, position_index
from app.schema.obscore import OBSCORE
from app.stores.database import (
    open_engine,
    read_transaction,
    sqlite_connection,
    write_transaction_with,
)
from app.stores.tables.bulk import insert_batch
from app.stores.tables.bulk_index import put_positions
from app.stores.tables.packed_tree import TreeWriter
from app.stores.tables.row_batch import RowBatch
from app.stores.tables.row_upsert import hidden_columns
from app.stores.tables.spatial import sqlite_trees

_OUTLINES: Final = outline_index("obscore", "s_region")
_POSITIONS: Final = position_index("obscore", "s_ra")
_CENTRE: Final = ("s_ra", "s_dec")
_SUFFIXES: Final = ("node", "parent", "rowid")
_ATTACHED: Final = "side"
_CACHE_KIB: Final = 65_536
_SORT_KIB: Final = 16_384


class TreeRowWriter:
    """Puts rows into obscore and its R*Trees, which have them at the end."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection
        self._outlines = TreeWriter(connection, _OUTLINES)
        self._positions = TreeWriter(connection, _POSITIONS)
        newest = "SELECT coalesce(max(row_id), 0) FROM obscore"
        self._newest = int(connection.exec_driver_sql(newest).scalar_one())

    def put(self, batch: RowBatch) -> None:
        """Insert rows under fresh numbers."""
        row_ids = np.arange(self._newest + 1, self._newest + len(batch) + 1)
        self._newest += len(batch)
        columns = {"row_id": pa.array(row_ids), **batch.columns, **hidden_columns(batch)}
        insert_batch(self._connection, "obscore", list(columns), list(columns.values()))
        outlined = batch.outlines.is_valid()
        chosen = outlined.to_numpy(zero_copy_only=False)
        self._outlines.put(row_ids[chosen], batch.boxes[chosen], batch.outlines.filter(outlined))
        lon, lat = (batch.columns[name].to_numpy(zero_copy_only=False) for name in _CENTRE)
        placed = np.isfinite(lon) & np.isfinite(lat)
        put_positions(self._positions, row_ids[placed], lon[placed], lat[placed])

    def finish(self) -> None:
        """Fill the trees."""
        self._outlines.finish()
        self._positions.finish()


class SideTable:
    """An ``obscore`` beside the database of ``engine``. To be closed, which removes it."""

    def __init__(self, engine: sa.Engine, path: Path) -> None:
        self._engine = engine
        self._path = path
        self._remove()
        with read_transaction(engine) as connection:
            self._table, *self._indexes = _definitions(connection)
            page_bytes = connection.exec_driver_sql("PRAGMA page_size").scalar_one()
        self._own = open_engine(f"sqlite:///{path}", pool_size=1)
        self.connection = self._own.connect()
        for pragma in (
            "journal_mode = OFF",  # what breaks off is thrown away
            "synchronous = OFF",
            f"page_size = {page_bytes}",
            f"cache_size = -{_CACHE_KIB}",
            "threads = 2",  # sort for indexes
        ):
            self._run_alone(f"PRAGMA {pragma}")
        self._run_alone("VACUUM")  # the size of pages counts from here on
        for statement in (self._table, *sqlite_trees(OBSCORE)):
            self.connection.exec_driver_sql(statement)

    def _run_alone(self, statement: str) -> None:
        """Outside of a transaction."""
        sqlite_connection(self.connection).execute(statement)

    def finish(self) -> None:
        """Make the indexes, once all rows are in."""
        # Each of the threads that sort takes as much memory as the cache.
        self.connection.exec_driver_sql(f"PRAGMA cache_size = -{_SORT_KIB}")
        for statement in (*self._indexes, "ANALYZE obscore"):
            self.connection.exec_driver_sql(statement)
        self.connection.commit()

    def move(self) -> bool:
        """Put all rows into ObsCore, if it is still empty; whether it was."""
        with write_transaction_with(self._engine, self._path, _ATTACHED) as connection:
            if connection.exec_driver_sql("SELECT EXISTS (SELECT 1 FROM main.obscore)").scalar():
                return False
            for name in _moved():
                connection.exec_driver_sql(f'DELETE FROM main."{name}"')
                connection.exec_driver_sql(
                    f'INSERT INTO main."{name}" SELECT * FROM {_ATTACHED}."{name}"'
                )
            connection.exec_driver_sql("DELETE FROM main.sqlite_stat1 WHERE tbl = 'obscore'")
            connection.exec_driver_sql(
                f"INSERT INTO main.sqlite_stat1 SELECT * FROM {_ATTACHED}.sqlite_stat1"
            )
        return True

    def close(self) -> None:
        """Remove the file."""
        self.connection.close()
        self._own.dispose()
        self._remove()

    def _remove(self) -> None:
        for suffix in ("", "-journal", "-wal", "-shm"):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)


@contextmanager
def side_table(engine: sa.Engine, path: Path) -> Iterator[SideTable]:
    """A table in a new file, which is removed at the end."""
    side = SideTable(engine, path)
    try:
        yield side
    finally:
        side.close()


def _moved() -> Iterator[str]:
    yield "obscore"
    for tree in (_OUTLINES, _POSITIONS):
        for suffix in _SUFFIXES:
            yield f"{tree}_{suffix}"


def _definitions(connection: sa.Connection) -> list[str]:
    """The statements that made the table and its indexes."""
    query = (
        "SELECT sql FROM sqlite_schema WHERE tbl_name = 'obscore' AND sql IS NOT NULL "
        "AND type IN ('table', 'index') ORDER BY type DESC"
    )
    return [str(text) for text in connection.exec_driver_sql(query).scalars()]

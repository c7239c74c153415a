"""What the services ask of a store of tables; SQLite and PostgreSQL answer alike.

Both backends pass the same contract suite (``tests/stores/contract.py``). Datasets and jobs need
no such base: one class serves both engines (:mod:`app.stores.tables.datasets`,
:mod:`app.stores.jobs`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Sequence
from typing import Final

import pyarrow as pa
import sqlalchemy as sa

from app.adql.compiled import CompiledQuery, Target
from app.schema.fields import Field
from app.schema.uploads import UploadedTable
from app.stores.database import read_transaction
from app.stores.tables.control import StatementControl

BATCH_ROWS: Final = 4096
"""Rows of a batch: some megabytes of ObsCore, of which a few are on their way at a time."""
FIRST_BATCH_ROWS: Final = 1024
"""The first batch is small: an answer of a few rows is whole with it, and a long one begins."""


class TableStore(ABC):
    """Runs compiled queries. ``target`` is the dialect they are to be compiled for."""

    @property
    @abstractmethod
    def target(self) -> Target:
        """That dialect. Raises StoreUnavailableError where the database must be asked."""

    def __init__(self, *, engine: sa.Engine) -> None:
        self._engine = engine

    def ping(self) -> None:
        """Return when the database answers; raise StoreUnavailableError otherwise."""
        with read_transaction(self._engine) as connection:
            connection.execute(sa.text("SELECT count(*) FROM tap_tables")).scalar_one()

    def warm_up(self) -> None:
        """Make compiled code ready, so that the first answer need not wait for it."""
        field = Field(name="n", kind="integer", datatype="long")
        query = CompiledQuery(
            sql="SELECT 1 AS n", binds={}, fields=(field,), maxrec=1, target=self.target
        )
        for _ in self.stream(query):
            pass

    @abstractmethod
    def cost(self, query: CompiledQuery, uploads: Sequence[UploadedTable] = ()) -> float:
        """What the database expects a statement to cost (:mod:`app.stores.tables.cost`).

        Raises what running the statement would.
        """

    @abstractmethod
    def stream(
        self,
        query: CompiledQuery,
        *,
        batch_rows: int = BATCH_ROWS,
        time_limit_s: float | None = None,
        uploads: Sequence[UploadedTable] = (),
        control: StatementControl | None = None,
    ) -> Generator[pa.RecordBatch, None, None]:
        """Run one statement in a read-only transaction and yield its rows in batches.

        Columns are in the order of ``query.fields``: int64 for integers, float64 for reals, bool
        for booleans, string for everything else; NULL is an arrow null. At least one batch comes,
        empty when there are no rows; the first has :data:`FIRST_BATCH_ROWS` at most. Closing the
        generator gives the connection back at once; ``control`` stops it from another thread
        while it works. ``uploads`` are tables of this statement only, seen by nobody else.

        Raises
        ------
        TimeLimitError
            The statement, its fetches included, ran longer than ``time_limit_s``.
        UsageError
            The data made the query fail (division by zero, number out of range …).
        StoreUnavailableError
            The database went away.
        StoppedError
            ``control`` was cancelled.
        """

"""What the services ask of a store of tables; SQLite and PostgreSQL answer alike.

Both backends pass the same contract suite (``tests/stores/contract.py``). Datasets and jobs need
no such base: one class serves both engines (:mod:`app.stores.tables.datasets`,
:mod:`app.stores.jobs`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator

import pyarrow as pa
import sqlalchemy as sa

from app.adql.compiled import CompiledQuery, Target
from app.stores.database import read_transaction


class TableStore(ABC):
    """Runs compiled queries. ``target`` is the dialect they are to be compiled for."""

    target: Target

    def __init__(self, *, engine: sa.Engine) -> None:
        self._engine = engine

    def ping(self) -> None:
        """Return when the database answers; raise StoreUnavailableError otherwise."""
        with read_transaction(self._engine) as connection:
            connection.execute(sa.text("SELECT count(*) FROM tap_tables")).scalar_one()

    @abstractmethod
    def stream(
        self,
        query: CompiledQuery,
        *,
        batch_rows: int = 10_000,
        time_limit_s: float | None = None,
    ) -> Generator[pa.RecordBatch, None, None]:
        """Run one statement in a read-only transaction and yield its rows in batches.

        Columns are in the order of ``query.fields``: int64 for integers, float64 for reals, bool
        for booleans, string for everything else; NULL is an arrow null. At least one batch comes,
        empty when there are no rows. Closing the generator gives the connection back at once.

        Raises
        ------
        TimeLimitError
            The statement, its fetches included, ran longer than ``time_limit_s``.
        UsageError
            The data made the query fail (division by zero, number out of range …).
        StoreUnavailableError
            The database went away.
        """

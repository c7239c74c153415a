"""What the services ask of a store of tables; SQLite and PostgreSQL answer alike.

Both backends pass the same contract suite (``tests/stores/contract.py``). Datasets and jobs need
no such protocol: one class serves both engines (:mod:`app.stores.tables.datasets`,
:mod:`app.stores.jobs`).
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Protocol

import pyarrow as pa

from app.adql.compiled import CompiledQuery, Target


class TableStore(Protocol):
    """Runs compiled queries."""

    @property
    def target(self) -> Target:
        """The dialect queries are to be compiled for."""

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

    def ping(self) -> None:
        """Return when the database answers; raise StoreUnavailableError otherwise."""

"""What the services ask of a metadata store; SQLite and PostgreSQL answer alike.

Both backends pass the same contract suites (``tests/stores/contract.py``). Every method may raise
StoreUnavailableError when the database cannot be reached.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import pyarrow as pa

from app.adql.compiled import CompiledQuery, Target
from app.schema.rows import DatasetRow, ProductInput


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


@dataclass(frozen=True, slots=True)
class UpsertCounts:
    """What an upsert did, in rows."""

    inserted: int
    updated: int
    unchanged: int


class DatasetStore(Protocol):
    """ObsCore rows with what is kept beside them, and provenance."""

    def upsert(self, rows: Iterable[DatasetRow]) -> UpsertCounts:
        """Insert or replace rows by obs_publisher_did (case-insensitive), all or none.

        A row equal to the stored one is left alone. Raises UsageError when ``s_region`` is not a
        polygon, a required column is missing or a column is unknown.
        """

    def get_many(self, ids: Sequence[str]) -> list[DatasetRow]:
        """Rows of the identifiers (case-insensitive) in the order asked; unknown ones absent."""

    def known_files(self, collection: str) -> Mapping[str, tuple[int, int]]:
        """file_path -> (file_size, file_mtime_ns) of the ingested rows of a collection."""

    def publish(
        self,
        row: DatasetRow,
        inputs: Sequence[ProductInput],
        *,
        result_media_type: str,
        now: datetime,
    ) -> None:
        """Make a built product known, in one transaction.

        The ObsCore row is upserted, its provenance rows replaced, and every job with
        ``row.recipe_key`` that is QUEUED or EXECUTING becomes COMPLETED with one result named
        ``result`` that points to the dataset.
        """

    def find_by_recipe(self, key: str) -> DatasetRow | None:
        """The product built from a recipe, or None."""

    def inputs_of(self, product_id: str) -> list[ProductInput]:
        """Provenance rows of a product: science first, then templates by identifier."""

    def products_of(self, input_id: str) -> list[ProductInput]:
        """Provenance rows in which a dataset is an input."""

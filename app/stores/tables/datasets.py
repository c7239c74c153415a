"""ObsCore rows with what is kept beside them, and provenance, on either engine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from app.errors import DatasetNotFoundError
from app.schema.rows import DatasetRow, ProductInput, ProductQuality, SourceRow, Value
from app.stores.database import read_transaction, write_transaction
from app.stores.job_rows import instant_text, results_text
from app.stores.tables.dia_sources import replace_sources
from app.stores.tables.physical import build_quality, job, obscore, product_input
from app.stores.tables.planner_statistics import refresh_statistics
from app.stores.tables.regions import region_index
from app.stores.tables.rows import (
    fold,
    from_record,
    input_from_record,
    input_record,
    quality_record,
    to_record,
)
from app.uws.job import JobResult, Phase

_CHUNK_ROWS = 500

_FOLDED_ID = sa.func.lower(obscore.c.obs_publisher_did)

_HAS_FILE = obscore.c.file_path != sa.literal_column("''")
"""The condition of the index of files, word for word: rows of images that lie elsewhere have none.
"""

Record = dict[str, Value]


@dataclass(frozen=True, slots=True)
class UpsertCounts:
    """What an upsert did, in rows."""

    inserted: int
    updated: int
    unchanged: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFile:
    """One file that dataset rows point to."""

    path: str
    size_bytes: int
    datasets: int
    built: bool


class DatasetStore:
    """Reads and writes dataset rows. Every method may raise StoreUnavailableError."""

    def __init__(self, *, engine: sa.Engine) -> None:
        self._engine = engine
        self._index = region_index(engine)

    def upsert(self, rows: Iterable[DatasetRow]) -> UpsertCounts:
        """Insert or replace rows by obs_publisher_did (case-insensitive), all or none.

        A row equal to the stored one is left alone; of two rows with one identifier the later
        wins. Values that are not finite are stored as null. Raises UsageError when ``s_region``
        is not a polygon, a required column is missing, a column is unknown or a value has the
        wrong type.
        """
        records = [to_record(row) for row in rows]
        with write_transaction(self._engine) as connection:
            self._index.lock(connection)
            counts = [self._upsert(connection, chunk) for chunk in _chunks(records)]
        return UpsertCounts(
            inserted=sum(c.inserted for c in counts),
            updated=sum(c.updated for c in counts),
            unchanged=sum(c.unchanged for c in counts),
        )

    def _upsert(self, connection: sa.Connection, chunk: Mapping[str, Record]) -> UpsertCounts:
        """Write one chunk: folded identifier -> record."""
        query = sa.select(obscore).where(_FOLDED_ID.in_(chunk))
        stored = {fold(r["obs_publisher_did"]): r for r in connection.execute(query).mappings()}
        new = [record for key, record in chunk.items() if key not in stored]
        changed = [
            (int(old["row_id"]), chunk[key])
            for key, old in stored.items()
            if any(old[name] != value for name, value in chunk[key].items())
        ]
        if new:
            self._index.insert(connection, new)
        if changed:
            self._index.update(connection, changed)
        return UpsertCounts(len(new), len(changed), len(chunk) - len(new) - len(changed))

    def refresh_statistics(self) -> None:
        """Count afresh what the query planner goes by; to be called after many rows changed.

        Without it SQLite takes the index of ``calib_level`` where the spatial one finds ten
        images among 100,000.
        """
        refresh_statistics(self._engine, "obscore", sampled=True)

    def get(self, dataset_id: str) -> DatasetRow:
        """The row of an identifier (case-insensitive). Raises DatasetNotFoundError."""
        rows = self.get_many([dataset_id])
        if not rows:
            raise DatasetNotFoundError(dataset_id)
        return rows[0]

    def get_many(self, ids: Sequence[str]) -> list[DatasetRow]:
        """Rows of the identifiers (case-insensitive) in the order asked; unknown ones absent."""
        keys = [fold(identifier) for identifier in ids if "\0" not in identifier]
        found: dict[str, DatasetRow] = {}
        with read_transaction(self._engine) as connection:
            for start in range(0, len(keys), _CHUNK_ROWS):
                query = sa.select(obscore).where(_FOLDED_ID.in_(keys[start : start + _CHUNK_ROWS]))
                for record in connection.execute(query).mappings():
                    found[fold(record["obs_publisher_did"])] = from_record(record)
        return [found[key] for key in keys if key in found]

    def known_files(self, collection: str) -> Mapping[str, tuple[int, int]]:
        """file_path -> (file_size, file_mtime_ns) of the ingested rows of a collection."""
        query = (
            sa.select(obscore.c.file_path, obscore.c.file_size, obscore.c.file_mtime_ns)
            .where(obscore.c.obs_collection == collection, obscore.c.origin == "ingested")
            .distinct()
        )
        with read_transaction(self._engine) as connection:
            return {path: (size, mtime) for path, size, mtime in connection.execute(query)}

    def remove_others(self, *, file_path: str, collection: str, keep: Sequence[str]) -> int:
        """Delete the ingested rows of a file whose identifiers are not in ``keep``; how many."""
        query = sa.select(obscore.c.row_id).where(
            obscore.c.file_path == file_path,
            _HAS_FILE,
            obscore.c.obs_collection == collection,
            obscore.c.origin == "ingested",
            _FOLDED_ID.not_in([fold(identifier) for identifier in keep]),
        )
        with write_transaction(self._engine) as connection:
            self._index.lock(connection)
            row_ids = list(connection.execute(query).scalars())
            self._index.delete(connection, row_ids)
        return len(row_ids)

    def publish(
        self,
        row: DatasetRow,
        inputs: Sequence[ProductInput],
        quality: ProductQuality,
        *,
        sources: Sequence[SourceRow] = (),
        result_media_type: str,
        now: datetime,
    ) -> None:
        """Make a built product known, in one transaction.

        The ObsCore row is upserted, its provenance, quality and ``sources`` are replaced, and
        every job with ``row.recipe_key`` that is QUEUED or EXECUTING becomes COMPLETED with one
        result named ``result`` that points to the dataset.
        """
        result = JobResult(
            result_id="result",
            media_type=result_media_type,
            dataset_id=row.dataset_id,
            size_bytes=row.file_size,
        )
        with write_transaction(self._engine) as connection:
            self._index.lock(connection)
            self._upsert(connection, {fold(row.dataset_id): to_record(row)})
            _replace_inputs(connection, row.dataset_id, inputs)
            _replace_quality(connection, quality)
            replace_sources(connection, row.dataset_id, sources)
            if row.recipe_key is not None:
                connection.execute(_complete_jobs(row.recipe_key, result, now))

    def find_by_recipe(self, key: str) -> DatasetRow | None:
        """The product built from a recipe, or None."""
        query = sa.select(obscore).where(obscore.c.recipe_key == key).limit(1)
        with read_transaction(self._engine) as connection:
            record = connection.execute(query).mappings().first()
        return None if record is None else from_record(record)

    def product_sizes(self, subtype: str, *, last: int = 20) -> list[tuple[int, int]]:
        """(bytes of the file, pixels of the image) of the products of a kind built last."""
        pixels = obscore.c.s_xel1 * obscore.c.s_xel2
        query = (
            sa.select(obscore.c.file_size, pixels)
            .where(
                obscore.c.origin == "built", obscore.c.dataproduct_subtype == subtype, pixels > 0
            )
            .order_by(obscore.c.row_id.desc())
            .limit(last)
        )
        with read_transaction(self._engine) as connection:
            return [(int(size), int(count)) for size, count in connection.execute(query)]

    def build_times(self, subtype: str, *, last: int) -> list[tuple[int, int, float]]:
        """(pixels, inputs, seconds of the build) of the products of a kind built last."""
        pixels = obscore.c.s_xel1 * obscore.c.s_xel2
        same = build_quality.c.obs_publisher_did == obscore.c.obs_publisher_did
        query = (
            sa.select(pixels, build_quality.c.n_inputs, build_quality.c.build_s)
            .join_from(obscore, build_quality, same)
            .where(
                obscore.c.dataproduct_subtype == subtype,
                pixels > 0,
                build_quality.c.n_inputs > 0,
                build_quality.c.build_s > 0,
            )
            .order_by(obscore.c.row_id.desc())
            .limit(last)
        )
        with read_transaction(self._engine) as connection:
            found = connection.execute(query)
            return [(int(size), int(count), float(seconds)) for size, count, seconds in found]

    def inputs_of(self, product_id: str) -> list[ProductInput]:
        """Provenance rows of a product: science first, then templates by identifier."""
        return self._provenance(product_input.c.product_id, product_id)

    def science_of(self, product_ids: Sequence[str]) -> dict[str, str]:
        """Identifier of each difference -> that of the image it was made from."""
        query = sa.select(product_input.c.product_id, product_input.c.input_id).where(
            sa.func.lower(product_input.c.product_id).in_([fold(name) for name in product_ids]),
            product_input.c.role == "science",
        )
        with read_transaction(self._engine) as connection:
            found = connection.execute(query)
            return {str(product): str(science) for product, science in found}

    def products_of(self, input_id: str) -> list[ProductInput]:
        """Provenance rows in which a dataset is an input, by product."""
        return self._provenance(product_input.c.input_id, input_id)

    def _provenance(self, column: sa.Column[Any], identifier: str) -> list[ProductInput]:
        query = (
            sa.select(product_input)
            .where(sa.func.lower(column) == fold(identifier))
            .order_by(product_input.c.role, product_input.c.product_id, product_input.c.input_id)
        )
        with read_transaction(self._engine) as connection:
            return [input_from_record(r) for r in connection.execute(query).mappings()]

    def stored_files(self) -> list[StoredFile]:
        """Every file that rows point to, by path. Rows whose images lie elsewhere have none."""
        query = (
            sa.select(
                obscore.c.file_path,
                sa.func.max(obscore.c.file_size).label("size_bytes"),
                sa.func.count().label("datasets"),
                sa.func.max(sa.case((obscore.c.origin == "built", 1), else_=0)).label("built"),
            )
            .where(_HAS_FILE)
            .group_by(obscore.c.file_path)
            .order_by(obscore.c.file_path)
        )
        with read_transaction(self._engine) as connection:
            return [
                StoredFile(
                    path=r.file_path,
                    size_bytes=r.size_bytes,
                    datasets=r.datasets,
                    built=bool(r.built),
                )
                for r in connection.execute(query)
            ]

    def orphaned_products(self) -> list[str]:
        """Identifiers of built products that no provenance row explains."""
        explained = sa.select(product_input.c.product_id)
        query = (
            sa.select(obscore.c.obs_publisher_did)
            .where(obscore.c.origin == "built", obscore.c.obs_publisher_did.not_in(explained))
            .order_by(obscore.c.obs_publisher_did)
        )
        with read_transaction(self._engine) as connection:
            return list(connection.execute(query).scalars())


def _chunks(records: Iterable[Record]) -> Iterator[dict[str, Record]]:
    """Chunks keyed by folded identifier; an identifier that comes again starts a new chunk."""
    chunk: dict[str, Record] = {}
    for record in records:
        key = fold(str(record["obs_publisher_did"]))
        if key in chunk or len(chunk) == _CHUNK_ROWS:
            yield chunk
            chunk = {}
        chunk[key] = record
    if chunk:
        yield chunk


def _replace_inputs(
    connection: sa.Connection, product_id: str, inputs: Sequence[ProductInput]
) -> None:
    connection.execute(
        product_input.delete().where(sa.func.lower(product_input.c.product_id) == fold(product_id))
    )
    if inputs:
        connection.execute(product_input.insert(), [input_record(item) for item in inputs])


def _replace_quality(connection: sa.Connection, quality: ProductQuality) -> None:
    same = sa.func.lower(build_quality.c.obs_publisher_did) == fold(quality.product_id)
    connection.execute(build_quality.delete().where(same))
    connection.execute(build_quality.insert(), [quality_record(quality)])


def _complete_jobs(recipe_key: str, result: JobResult, now: datetime) -> sa.Update:
    """The same change that :mod:`app.uws.transitions` makes for ``complete``, on many rows."""
    return (
        job.update()
        .where(
            job.c.recipe_key == recipe_key,
            job.c.phase.in_([Phase.QUEUED.value, Phase.EXECUTING.value]),
        )
        .values(
            phase=Phase.COMPLETED.value,
            start_time=sa.func.coalesce(job.c.start_time, instant_text(now)),
            end_time=instant_text(now),
            results=results_text((result,)),
            error=None,
            lease_owner=None,
            lease_until=None,
        )
    )

"""ObsCore rows with what is kept beside them, and provenance, on either engine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from app.errors import DatasetNotFoundError
from app.schema.rows import (
    DatasetRow,
    ProductInput,
    ProductQuality,
    SourceRow,
    science_of_virtual,
)
from app.stores.database import read_transaction, write_transaction
from app.stores.tables.build_records import complete_jobs, replace_inputs, replace_quality
from app.stores.tables.build_states import chunks, make_room, restate
from app.stores.tables.dataset_rows import FOLDED_ID, Record, UpsertCounts, delete_rows, upsert_rows
from app.stores.tables.dia_sources import release_sources, replace_sources
from app.stores.tables.physical import build_quality, obscore, product_input
from app.stores.tables.planner_statistics import refresh_statistics
from app.stores.tables.regions import region_index
from app.stores.tables.rows import (
    fold,
    from_record,
    input_from_record,
    to_record,
)
from app.uws.job import JobResult

_CHUNK_ROWS = 500

HAS_FILE = obscore.c.file_path != sa.literal_column("''")
"""The condition of the index of files, word for word: rows of images that lie elsewhere have none.
"""

_GIVEN: Final = obscore.c.origin.in_(("ingested", "external"))
"""Rows that were made neither by a build nor by what could be built."""


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
            counts = [upsert_rows(connection, self._index, chunk) for chunk in _chunks(records)]
        return UpsertCounts(
            inserted=sum(c.inserted for c in counts),
            updated=sum(c.updated for c in counts),
            unchanged=sum(c.unchanged for c in counts),
        )

    def refresh_statistics(self) -> None:
        """Count afresh what the query planner goes by; to be called after many rows changed.

        Without it SQLite takes the index of ``calib_level`` where the spatial one finds ten
        images among 100,000.
        """
        refresh_statistics(self._engine, "obscore", sampled=True)

    def get(self, dataset_id: str) -> DatasetRow:
        """The row of an identifier (case-insensitive); of that of a virtual difference, the
        difference there is now. Raises DatasetNotFoundError."""
        found = self.resolve([dataset_id])
        if not found:
            raise DatasetNotFoundError(dataset_id)
        return found[fold(dataset_id)]

    def resolve(self, ids: Sequence[str]) -> dict[str, DatasetRow]:
        """Folded identifier -> row, as by :meth:`get`; unknown ones absent."""
        found = {fold(row.dataset_id): row for row in self.get_many(ids)}
        exposures = {
            fold(name): science_of_virtual(name) for name in ids if fold(name) not in found
        }
        asked = {name: fold(exposure) for name, exposure in exposures.items() if exposure}
        current = self.differences_of(list(asked.values())) if asked else {}
        return found | {name: current[each] for name, each in asked.items() if each in current}

    def differences_of(self, exposures: Sequence[str]) -> dict[str, DatasetRow]:
        """Folded identifier of each exposure -> its difference: built, stale, or to be built."""
        found: dict[str, DatasetRow] = {}
        with read_transaction(self._engine) as connection:
            for some in chunks([fold(name) for name in exposures if "\0" not in name]):
                query = sa.select(obscore).where(obscore.c.difference_of.in_(some))
                for record in connection.execute(query).mappings():
                    found[record["difference_of"]] = from_record(record)
        return found

    def get_many(self, ids: Sequence[str]) -> list[DatasetRow]:
        """Rows of the identifiers (case-insensitive) in the order asked; unknown ones absent."""
        keys = [fold(identifier) for identifier in ids if "\0" not in identifier]
        found: dict[str, DatasetRow] = {}
        with read_transaction(self._engine) as connection:
            for some in chunks(keys):
                query = sa.select(obscore).where(FOLDED_ID.in_(some))
                for record in connection.execute(query).mappings():
                    found[fold(record["obs_publisher_did"])] = from_record(record)
        return [found[key] for key in keys if key in found]

    def of_file(self, path: str) -> list[DatasetRow]:
        """The rows of the images in a file, by HDU."""
        query = (
            sa.select(obscore)
            .where(obscore.c.file_path == path, HAS_FILE)
            .order_by(obscore.c.file_hdu, obscore.c.row_id)
        )
        with read_transaction(self._engine) as connection:
            return [from_record(record) for record in connection.execute(query).mappings()]

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
            HAS_FILE,
            obscore.c.obs_collection == collection,
            obscore.c.origin == "ingested",
            FOLDED_ID.not_in([fold(identifier) for identifier in keep]),
        )
        with write_transaction(self._engine) as connection:
            self._index.lock(connection)
            return delete_rows(connection, self._index, list(connection.execute(query).scalars()))

    def withdraw(self, dataset_ids: Sequence[str]) -> int:
        """Delete rows with what is known of them; how many. Products that were made of them are
        stale from now on."""
        with write_transaction(self._engine) as connection:
            self._index.lock(connection)
            row_ids: list[int] = []
            for some in chunks([fold(name) for name in dataset_ids]):
                query = sa.select(obscore.c.row_id).where(FOLDED_ID.in_(some))
                row_ids += connection.execute(query).scalars()
            return delete_rows(connection, self._index, row_ids)

    def collections(self) -> list[str]:
        """Collections that images or rows were given to, by name."""
        query = sa.select(obscore.c.obs_collection).where(_GIVEN).distinct()
        with read_transaction(self._engine) as connection:
            return sorted(connection.execute(query).scalars())

    def withdraw_some(self, collection: str, *, most: int) -> int:
        """Delete up to ``most`` such rows of a collection as :meth:`withdraw` does; how many."""
        query = (
            sa.select(obscore.c.row_id)
            .where(obscore.c.obs_collection == collection, _GIVEN)
            .limit(most)
        )
        with write_transaction(self._engine) as connection:
            self._index.lock(connection)
            return delete_rows(connection, self._index, list(connection.execute(query).scalars()))

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

        The ObsCore row is upserted, its provenance, quality and ``sources`` are replaced (these are
        held while the product is not public), and every job with ``row.recipe_key`` that is QUEUED
        or EXECUTING becomes COMPLETED with one result named ``result`` that points to the dataset.
        A product that is the difference of an exposure (``row.difference_of``) replaces the row
        that it was listed by.
        """
        result = JobResult(
            result_id="result",
            media_type=result_media_type,
            dataset_id=row.dataset_id,
            size_bytes=row.file_size,
        )
        with write_transaction(self._engine) as connection:
            self._index.lock(connection)
            self._make_current(connection, row)
            replace_inputs(connection, row.dataset_id, inputs)
            restate(connection, [fold(row.dataset_id)])
            replace_quality(connection, quality)
            replace_sources(connection, row.dataset_id, sources, rights=row.rights, now=now)
            if row.recipe_key is not None:
                complete_jobs(connection, row.recipe_key, result, now)

    def release_sources(self, now: datetime) -> int:
        """Show the sources of differences that became public; how many."""
        count = 0
        while True:
            with write_transaction(self._engine) as connection:
                self._index.lock(connection)
                shown = release_sources(connection, now)
            if shown == 0:
                return count
            count += shown

    def _make_current(self, connection: sa.Connection, row: DatasetRow) -> None:
        """Write a product, in the place of the row that promised it."""
        name, record = fold(row.dataset_id), to_record(row)
        if record["difference_of"] is None:
            query = sa.select(obscore.c.difference_of).where(FOLDED_ID.in_([name]))
            record["difference_of"] = connection.execute(query).scalar()
        else:
            promised = make_room(connection, str(record["difference_of"]), keep=name)
            self._index.delete(connection, promised)
        upsert_rows(connection, self._index, {name: record})

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
        return self.inputs_of_all([product_id]).get(fold(product_id), [])

    def inputs_of_all(self, product_ids: Sequence[str]) -> dict[str, list[ProductInput]]:
        """Folded identifier of each product -> its provenance rows; the others absent."""
        return self._provenance(product_input.c.product_id, product_ids)

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
        return self.products_of_all([input_id]).get(fold(input_id), [])

    def products_of_all(self, input_ids: Sequence[str]) -> dict[str, list[ProductInput]]:
        """Folded identifier of each dataset -> the provenance rows in which it is an input; those
        without any absent."""
        return self._provenance(product_input.c.input_id, input_ids)

    def _provenance(
        self, column: sa.Column[Any], identifiers: Sequence[str]
    ) -> dict[str, list[ProductInput]]:
        found: dict[str, list[ProductInput]] = {}
        with read_transaction(self._engine) as connection:
            for some in chunks([fold(name) for name in identifiers if "\0" not in name]):
                query = (
                    sa.select(product_input)
                    .where(sa.func.lower(column).in_(some))
                    .order_by(
                        product_input.c.role, product_input.c.product_id, product_input.c.input_id
                    )
                )
                for record in connection.execute(query).mappings():
                    name = fold(record[column.name])
                    found.setdefault(name, []).append(input_from_record(record))
        return found


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

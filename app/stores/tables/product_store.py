"""Built products as their files are looked after: which there are, what needs them, taking them
out of the archive."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa

from app.schema.rows import virtual_id
from app.stores.database import read_transaction, write_transaction
from app.stores.job_rows import from_row
from app.stores.kept_files import KeptFiles
from app.stores.tables.dataset_rows import FOLDED_ID, delete_rows
from app.stores.tables.physical import job, obscore, product_input
from app.stores.tables.regions import region_index
from app.stores.tables.rows import fold
from app.uws.job import ACTIVE

_OPEN: Final = tuple(sorted(phase.value for phase in ACTIVE))


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredProduct:
    """A built product; ``difference_of`` is the folded identifier of the exposure whose default
    difference it is."""

    row_id: int
    dataset_id: str
    path: str
    size_bytes: int
    mtime_ns: int
    checksum: str
    recipe_key: str | None
    difference_of: str | None


class ProductStore:
    """Reads and withdraws built products. Every method may raise StoreUnavailableError."""

    def __init__(self, *, engine: sa.Engine, files: KeptFiles) -> None:
        self._engine = engine
        self._index = region_index(engine)
        self._files = files

    def products(self) -> list[StoredProduct]:
        """All of them, in the order in which they were first built."""
        query = _select().where(obscore.c.origin == "built").order_by(obscore.c.row_id)
        with read_transaction(self._engine) as connection:
            return [_product(row) for row in connection.execute(query).mappings()]

    def unexplained(self) -> list[str]:
        """Identifiers of products that no provenance row explains."""
        explained = sa.select(product_input.c.product_id)
        query = (
            sa.select(obscore.c.obs_publisher_did)
            .where(obscore.c.origin == "built", obscore.c.obs_publisher_did.not_in(explained))
            .order_by(obscore.c.obs_publisher_did)
        )
        with read_transaction(self._engine) as connection:
            return list(connection.execute(query).scalars())

    def job_ids(self) -> frozenset[str]:
        """Every job on record."""
        with read_transaction(self._engine) as connection:
            return frozenset(connection.execute(sa.select(job.c.job_id)).scalars())

    def recipes_under_way(self) -> frozenset[str]:
        """Keys of the recipes that open jobs build."""
        query = sa.select(job.c.recipe_key).where(
            job.c.phase.in_(_OPEN), job.c.recipe_key.is_not(None)
        )
        with read_transaction(self._engine) as connection:
            return frozenset(connection.execute(query).scalars())

    def needed(self) -> Callable[[StoredProduct], bool]:
        """Whether a product is needed now: other products were made of it, or open jobs name or
        build it."""
        with read_transaction(self._engine) as connection:
            used, asked = _used(connection), _asked_for(connection)
        return lambda product: _is_needed(product, used, asked)

    def withdraw(self, product: StoredProduct) -> bool:
        """Take a product out of the archive, rows and file, as if it had not been built; False
        when it was built anew meanwhile."""
        return self._take_out(product, lambda _connection: True)

    def evict(self, product: StoredProduct) -> bool:
        """The same if nothing needs it (see :meth:`needed`)."""

        def may_go(connection: sa.Connection) -> bool:
            return not _is_needed(product, _used(connection), _asked_for(connection))

        return self._take_out(product, may_go)

    def _take_out(self, product: StoredProduct, may_go: Callable[[sa.Connection], bool]) -> bool:
        """Its file is out of the way before the rows are gone for good: whoever dies in between
        leaves a row without a file, which can be built, and never a file that no row names."""
        same = (
            (obscore.c.row_id == product.row_id)
            & (fold(product.dataset_id) == FOLDED_ID)
            & (obscore.c.file_mtime_ns == product.mtime_ns)
        )
        with ExitStack() as files, write_transaction(self._engine) as connection:
            self._index.lock(connection)
            found = list(connection.execute(sa.select(obscore.c.row_id).where(same)).scalars())
            if not found or not may_go(connection):
                return False
            files.enter_context(self._files.taken_out(product.path))
            delete_rows(connection, self._index, found)
        return True


def _select() -> sa.Select[Any]:
    return sa.select(
        obscore.c.row_id,
        obscore.c.obs_publisher_did,
        obscore.c.file_path,
        obscore.c.file_size,
        obscore.c.file_mtime_ns,
        obscore.c.file_checksum,
        obscore.c.recipe_key,
        obscore.c.difference_of,
    )


def _product(row: sa.RowMapping) -> StoredProduct:
    return StoredProduct(
        row_id=row["row_id"],
        dataset_id=row["obs_publisher_did"],
        path=row["file_path"],
        size_bytes=row["file_size"],
        mtime_ns=row["file_mtime_ns"],
        checksum=row["file_checksum"],
        recipe_key=row["recipe_key"],
        difference_of=row["difference_of"],
    )


def _used(connection: sa.Connection) -> frozenset[str]:
    """Folded identifiers of products that other products were made of."""
    name = sa.func.lower(product_input.c.input_id)
    built = sa.select(FOLDED_ID).where(obscore.c.origin == "built")
    query = sa.select(name).where(product_input.c.rejected.is_(None), name.in_(built))
    return frozenset(connection.execute(query.distinct()).scalars())


def _asked_for(connection: sa.Connection) -> frozenset[str]:
    """What the parameters of open jobs name (folded), and the keys of what these jobs build."""
    query = sa.select(job).where(job.c.phase.in_(_OPEN))
    words: set[str] = set()
    for opened in map(from_row, connection.execute(query).mappings()):
        if opened.recipe_key is not None:
            words.add(opened.recipe_key)
        for _, value in opened.parameters:
            words.update(fold(word.strip()) for word in (value, *value.split(",")))
    return frozenset(words)


def _is_needed(product: StoredProduct, used: frozenset[str], asked: frozenset[str]) -> bool:
    name, exposure = fold(product.dataset_id), product.difference_of
    promise = None if exposure is None else virtual_id(exposure)
    own = {name, exposure, fold(promise or ""), product.recipe_key} - {None, ""}
    return name in used or not asked.isdisjoint(own)

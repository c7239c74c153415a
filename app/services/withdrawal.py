"""Taking images out of the archive: their rows go, their files stay where they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from app.errors import DatasetNotFoundError, UsageError
from app.schema.rows import DatasetRow
from app.stores.remote.addresses import Address, is_remote
from app.stores.tables.datasets import DatasetStore

_AT_A_TIME: Final = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class WithdrawalReport:
    """Identifiers of what was withdrawn, and of the products that are stale since."""

    withdrawn: tuple[str, ...]
    stale: tuple[str, ...]


class WithdrawalService:
    """``on_change`` is called when rows were removed."""

    def __init__(self, *, datasets: DatasetStore, on_change: Callable[[], object]) -> None:
        self._datasets = datasets
        self._on_change = on_change

    def run(self, names: Sequence[str]) -> WithdrawalReport:
        """Withdraw datasets: identifiers (``ivo://…``), or files with all their images.

        All of them or none. Raises DatasetNotFoundError for an identifier that is not known,
        UsageError for a file that no dataset is of, and for a difference that was not built.
        """
        rows = [row for name in names for row in self._find(name)]
        for row in rows:
            if row.origin == "virtual":
                raise UsageError(f"{row.dataset_id} is not built; withdraw its exposure")
        ids = tuple(dict.fromkeys(row.dataset_id for row in rows))
        self._datasets.withdraw(ids)
        self._on_change()
        used_in = dict.fromkeys(
            use.product_id
            for name in ids
            for use in self._datasets.products_of(name)
            if use.rejected is None
        )
        products = self._datasets.get_many(list(used_in))
        return WithdrawalReport(
            withdrawn=ids, stale=tuple(row.dataset_id for row in products if row.is_stale)
        )

    def run_collection(self, collection: str) -> int:
        """Withdraw what was ingested into a collection, some rows at a time; how many. Stopped on
        the way, it goes on when it is run again.

        Raises UsageError where nothing was.
        """
        count = 0
        while done := self._datasets.withdraw_some(collection, most=_AT_A_TIME):
            count += done
        if not count:
            known = ", ".join(self._datasets.collections()) or "none"
            raise UsageError(f"no image was ingested into {collection!r}. Collections: {known}")
        self._on_change()
        return count

    def _find(self, name: str) -> list[DatasetRow]:
        if name.lower().startswith("ivo://"):
            rows = self._datasets.get_many([name])
            if not rows:
                raise DatasetNotFoundError(name)
            return rows
        rows = self._datasets.of_file(_stored_path(name))
        if not rows:
            raise UsageError(f"{name}: no dataset is of this file")
        return rows


def _stored_path(name: str) -> str:
    """A file as rows tell where it lies."""
    if is_remote(name):
        return str(Address.of(name))
    path = Path(name)
    return str(path.parent.resolve() / path.name)

"""Results of reading, written to the store in batches that are each whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from app.errors import UsageError
from app.schema.rows import DatasetRow
from app.services.ingest.read_file import FileResult
from app.services.ingest.report import FileOutcome, Status
from app.stores.image_files import ImageFiles
from app.stores.remote.addresses import name_of
from app.stores.tables.datasets import DatasetStore

BATCH_ROWS = 200


class Publication:
    """Collects results, writes their rows, and keeps the outcome of each file by path."""

    def __init__(
        self,
        datasets: DatasetStore,
        files: ImageFiles,
        collection: str,
        known: Mapping[str, tuple[int, int]],
    ) -> None:
        self._datasets = datasets
        self._files = files
        self._collection = collection
        self._known = known
        self._owners: dict[str, str] = {}
        self._pending: list[FileResult] = []
        self.outcomes: dict[str, FileOutcome] = {}
        self.inserted = self.updated = self.unchanged = self.removed = 0

    def add(self, result: FileResult) -> None:
        """Take a result; writes when a batch is full."""
        if not result.rows:
            self._refuse(result, result.reason or "no row")
            return
        self._pending.append(result)
        if sum(len(r.rows) for r in self._pending) >= BATCH_ROWS:
            self.flush()

    def flush(self) -> None:
        """Write what is pending."""
        pending, self._pending = self._pending, []
        if not pending:
            return
        accepted = self._without_taken(pending)
        try:
            self._write(accepted)
        except UsageError:  # one row the table does not take must not keep the others out
            for result in accepted:
                self._write_alone(result)

    def _without_taken(self, results: Sequence[FileResult]) -> list[FileResult]:
        """Refuse files whose identifiers belong to another file that still exists."""
        ids = [row.dataset_id for result in results for row in result.rows]
        stored = {row.dataset_id.lower(): row for row in self._datasets.get_many(ids)}
        accepted = []
        for result in results:
            other = self._taken_by(result, stored)
            if other is None:
                self._owners |= {row.dataset_id.lower(): result.file.path for row in result.rows}
                accepted.append(result)
            else:
                self._refuse(result, f"{other} already has its identifier")
        return accepted

    def _taken_by(self, result: FileResult, stored: Mapping[str, DatasetRow]) -> str | None:
        for row in result.rows:
            key = row.dataset_id.lower()
            holder = stored.get(key)
            owner = self._owners.get(key) or (None if holder is None else holder.file_path)
            if owner not in {None, result.file.path} and self._files.may_exist(str(owner)):
                return name_of(str(owner))
        return None

    def _write(self, results: Sequence[FileResult]) -> None:
        counts = self._datasets.upsert([row for result in results for row in result.rows])
        self.inserted += counts.inserted
        self.updated += counts.updated
        self.unchanged += counts.unchanged
        for result in results:
            self._drop_vanished(result)
            ids = tuple(row.dataset_id for row in result.rows)
            self.outcomes[result.file.path] = FileOutcome(
                result.file.path, Status.PUBLISHED, datasets=ids, notes=result.notes
            )

    def _drop_vanished(self, result: FileResult) -> None:
        """Remove rows of HDUs that a changed file no longer has."""
        if result.file.path in self._known:
            keep = [row.dataset_id for row in result.rows]
            self.removed += self._datasets.remove_others(
                file_path=result.file.path, collection=self._collection, keep=keep
            )

    def _write_alone(self, result: FileResult) -> None:
        try:
            self._write([result])
        except UsageError as fault:
            self._refuse(result, str(fault).removeprefix(f"{result.file.path}: "))

    def _refuse(self, result: FileResult, reason: str) -> None:
        path = result.file.path
        self.outcomes[path] = FileOutcome(path, Status.REFUSED, reason=reason, notes=result.notes)

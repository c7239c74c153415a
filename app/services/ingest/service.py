"""The ingest use case: files in, ObsCore rows and a report out."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path

from app.errors import UsageError
from app.services.ingest.elsewhere import find_elsewhere
from app.services.ingest.files import FoundFile, find_files
from app.services.ingest.pool import read_all
from app.services.ingest.profile import Profile
from app.services.ingest.profile_reader import load_profile
from app.services.ingest.publication import Publication
from app.services.ingest.read_file import FileReader
from app.services.ingest.report import FileOutcome, IngestReport, Status
from app.stores.image_files import ImageFiles
from app.stores.remote.addresses import is_remote
from app.stores.remote.files import RemoteFiles
from app.stores.tables.datasets import DatasetStore

Progress = Callable[[int, int], None]
"""Called with (files done, files in all)."""


def _nothing_follows() -> None:
    """The default of ``afterwards``."""


_COLLECTION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~-]*(/[A-Za-z0-9][A-Za-z0-9._~-]*)*")
RESERVED = "products"
"""The collection of what is built here."""


class IngestService:
    """Reads a group's files into the metadata store.

    ``authority`` is the IVOA authority of the identifiers, ``workers`` the number of processes
    that read files, ``remote`` what reads those that lie elsewhere. ``afterwards`` is called when
    a run has written all its rows.
    """

    def __init__(
        self,
        *,
        datasets: DatasetStore,
        authority: str,
        workers: int = 1,
        remote: RemoteFiles | None = None,
        afterwards: Callable[[], object] = _nothing_follows,
    ) -> None:
        self._datasets = datasets
        self._authority = authority
        self._workers = workers
        self._files = ImageFiles(Path(), remote)
        self._afterwards = afterwards

    def run(
        self,
        paths: Sequence[Path | str],
        *,
        collection: str,
        profile: Path | None = None,
        progress: Progress | None = None,
        force: bool = False,
        columns: Mapping[str, str] | None = None,
    ) -> IngestReport:
        """Publish the images in files and folders as rows of a collection; texts may also be
        addresses (``https://…``, ``s3://bucket/key`` or ``s3://bucket/prefix``).

        A file whose size and time are those of the last ingest is not opened, unless ``force``
        (needed after a change of the profile, or of ``columns``, the same for every image). A file
        that cannot be published is in the report
        with its reason and never stops the run; neither does Ctrl-C leave anything half done:
        rows are written in batches, each whole, and the report says that it was interrupted.
        Raises UsageError for a path that does not exist, a bad profile or collection name,
        StoreUnavailableError, and RemoteUnavailableError when a prefix cannot be listed.
        """
        if not _COLLECTION.fullmatch(collection) or collection == RESERVED:
            raise UsageError(
                f"collection {collection!r}: letters, digits and . _ ~ - (with / between), "
                f"and not {RESERVED!r}"
            )
        reading = load_profile(profile).with_columns(columns or {})
        files = self._find(paths, reading)
        known = self._datasets.known_files(collection)
        run = _Run(
            files,
            dict(known),
            Publication(self._datasets, self._files, collection, known),
            progress,
        )
        reader = FileReader(reading, self._authority, collection, self._files)
        report = run.execute(reader, self._workers, force=force, collection=collection)
        if report.inserted + report.updated + report.removed:
            self._datasets.refresh_statistics()
        if not report.interrupted:
            self._afterwards()
        return report

    def _find(self, paths: Sequence[Path | str], profile: Profile) -> list[FoundFile]:
        """What lies here, then what lies elsewhere."""
        addresses = [path for path in paths if isinstance(path, str) and is_remote(path)]
        here = [Path(path) for path in paths if path not in addresses]
        found = find_files(here, profile)
        if addresses:
            found += find_elsewhere(addresses, profile, self._files.elsewhere(addresses[0]))
        return found


class _Run:
    """One call: the outcome of each file, in order."""

    def __init__(
        self,
        files: Sequence[FoundFile],
        known: dict[str, tuple[int, int]],
        publication: Publication,
        progress: Progress | None,
    ) -> None:
        self._files = files
        self._known = known
        self._publication = publication
        self._progress = progress
        self._done = 0
        self._passed: dict[str, FileOutcome] = {}

    def execute(
        self, reader: FileReader, workers: int, *, force: bool, collection: str
    ) -> IngestReport:
        """Read what must be read, write it, and report."""
        waiting = [file for file in self._files if not self._pass_over(file, force)]
        self._step(len(self._passed))
        interrupted = False
        results = read_all(reader, waiting, workers)
        try:
            with closing(results):
                for result in results:
                    self._publication.add(result)
                    self._step(1)
        except KeyboardInterrupt:
            interrupted = True
        self._publication.flush()
        return self._report(collection, interrupted)

    def _pass_over(self, file: FoundFile, force: bool) -> bool:
        """Whether a file need not be opened; says so in its outcome."""
        if file.companion_of is not None:
            reason = f"companion of {file.companion_of}"
            self._passed[file.path] = FileOutcome(file.path, Status.COMPANION, reason=reason)
        elif not force and self._known.get(file.path) == (file.size, file.mtime_ns):
            self._passed[file.path] = FileOutcome(file.path, Status.UNCHANGED)
        return file.path in self._passed

    def _step(self, count: int) -> None:
        self._done += count
        if self._progress is not None:
            self._progress(self._done, len(self._files))

    def _report(self, collection: str, interrupted: bool) -> IngestReport:
        outcomes = self._passed | self._publication.outcomes
        counts = self._publication
        return IngestReport(
            collection=collection,
            files=tuple(outcomes[f.path] for f in self._files if f.path in outcomes),
            inserted=counts.inserted,
            updated=counts.updated,
            unchanged=counts.unchanged,
            removed=counts.removed,
            interrupted=interrupted,
        )

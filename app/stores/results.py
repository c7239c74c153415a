"""Results of jobs as files: ``results/<job>/<result>`` where the service keeps what it makes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from app.errors import NotFoundError, RemoteUnavailableError
from app.stores.data_folder import RESULTS, remove
from app.stores.files import PublishedFile, RemoteFile, get_file
from app.stores.kept_files import KeptFiles
from app.stores.remote.addresses import is_remote

_NAME: Final = re.compile(r"[A-Za-z0-9_-]+\Z")


class ResultStore:
    """Writes result files whole or not at all, with ``files``; by default below the data folder.

    Every method may raise RemoteUnavailableError where results lie elsewhere.
    """

    def __init__(self, *, data_dir: Path, files: KeptFiles | None = None) -> None:
        self._data_dir = data_dir.absolute()
        self._files = files or KeptFiles(self._data_dir)

    def write(self, job_id: str, result_id: str, chunks: Iterable[bytes]) -> tuple[str, int]:
        """Write a result. Returns its address, or its path relative to the data folder, and its
        size in bytes.

        Whatever ``chunks`` raises is raised, and nothing is left behind. StorageFullError when
        the disk is full.
        """
        path = self._path(job_id, result_id)
        try:
            written = self._files.write(path, chunks)
        except BaseException:
            if not is_remote(path):
                with suppress(OSError):
                    Path(path).parent.rmdir()  # unless it holds another result
            raise
        return path.removeprefix(f"{self._data_dir}/"), written.size_bytes

    def find(self, path: str) -> PublishedFile | RemoteFile:
        """The file of a path that :meth:`write` gave. NotFoundError if it is gone."""
        try:
            if is_remote(path):
                return get_file(path, self._files.remote)
            found = (self._data_dir / path).resolve()
            if found.is_relative_to(self._data_dir.resolve()):
                return get_file(str(found), None)
        except NotFoundError:
            pass
        raise NotFoundError("The result")

    def read(self, job_id: str, result_id: str) -> bytes | None:
        """The content of a file that :meth:`write` wrote, None if there is none."""
        return self._files.read(self._path(job_id, result_id))

    def size(self, job_id: str, result_id: str) -> int | None:
        """Bytes of a file that :meth:`write` wrote, None if there is none."""
        facts = self._files.facts(self._path(job_id, result_id))
        return None if facts is None else facts.size_bytes

    def delete(self, job_id: str) -> None:
        """Remove all results of a job; what cannot be removed now, the doctor finds."""
        with suppress(OSError):
            remove(self._data_dir / RESULTS / _checked(job_id))
        with suppress(OSError, RemoteUnavailableError):
            for path, _ in self._files.listed(f"{RESULTS}/{_checked(job_id)}"):
                self._files.remove(path)

    def _path(self, job_id: str, result_id: str) -> str:
        return self._files.place(f"{RESULTS}/{_checked(job_id)}/{_checked(result_id)}")


def _checked(name: str) -> str:
    """A name that cannot leave its folder."""
    if not _NAME.match(name):
        raise NotFoundError(f"The result {name!r}")
    return name

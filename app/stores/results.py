"""Results of jobs as files below the data folder: ``results/<job>/<result>``."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from app.errors import NotFoundError
from app.stores.files_atomic import write_atomically

_NAME: Final = re.compile(r"[A-Za-z0-9_-]+\Z")


class ResultStore:
    """Writes result files whole or not at all."""

    def __init__(self, *, data_dir: Path) -> None:
        self._data_dir = data_dir.absolute()

    def write(self, job_id: str, result_id: str, chunks: Iterable[bytes]) -> tuple[str, int]:
        """Write a result. Returns its path relative to the data folder and its size in bytes.

        Whatever ``chunks`` raises is raised, and nothing is left behind. StorageFullError when
        the disk is full.
        """
        path = self._folder(job_id) / _checked(result_id)
        try:
            written = write_atomically(path, chunks)
        except BaseException:
            with suppress(OSError):
                path.parent.rmdir()  # unless it holds another result
            raise
        return str(path.relative_to(self._data_dir)), written.size_bytes

    def find(self, path: str) -> Path:
        """The file of a path that :meth:`write` gave. NotFoundError if it is gone."""
        found = (self._data_dir / path).resolve()
        if not found.is_relative_to(self._data_dir.resolve()) or not found.is_file():
            raise NotFoundError("The result")
        return found

    def read(self, job_id: str, result_id: str) -> bytes | None:
        """The content of a file that :meth:`write` wrote, None if there is none."""
        try:
            return (self._folder(job_id) / _checked(result_id)).read_bytes()
        except FileNotFoundError:
            return None

    def size(self, job_id: str, result_id: str) -> int | None:
        """Bytes of a file that :meth:`write` wrote, None if there is none."""
        try:
            return (self._folder(job_id) / _checked(result_id)).stat().st_size
        except FileNotFoundError:
            return None

    def delete(self, job_id: str) -> None:
        """Remove all results of a job."""
        shutil.rmtree(self._folder(job_id), ignore_errors=True)

    def _folder(self, job_id: str) -> Path:
        return self._data_dir / "results" / _checked(job_id)


def _checked(name: str) -> str:
    """A name that cannot leave its folder."""
    if not _NAME.match(name):
        raise NotFoundError(f"The result {name!r}")
    return name

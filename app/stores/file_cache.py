"""What was made from images, kept on disk, bounded: what was not asked for longest goes first."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from app.errors import StorageFullError, StorageReadOnlyError
from app.stores.files_atomic import write_atomically

_AT_ONCE = 2
_SPARE = 10
"""A full folder is emptied by a tenth: it is not looked through for each new file."""
_SHARERS = 4
"""Processes that may fill a folder at the same time without knowing of each other."""


class FileCache:
    """A folder of files by key, at most ``max_bytes`` in all; their names end in ``suffix``.

    Several threads and processes may share a folder. Few files are made at the same time, however
    many are asked for: each holds a whole image in memory.
    """

    def __init__(self, *, folder: Path, max_bytes: int, suffix: str) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._suffix = suffix
        self._making = threading.BoundedSemaphore(_AT_ONCE)
        self._room = 0
        self.hits = 0
        self.misses = 0
        """Of this process, since its start; a few may be missed when threads count at once."""

    def get(self, key: str, make: Callable[[], bytes]) -> bytes:
        """The content of ``key``; made if it is not there. Raises what ``make`` raises."""
        name = hashlib.sha256(key.encode()).hexdigest()[:32]
        path = self._folder / f"{name}{self._suffix}"
        found = _read(path)
        if found is not None:
            self.hits += 1
            return found
        self.misses += 1
        with self._making:
            found = _read(path)
            if found is None:
                found = make()
                try:
                    write_atomically(path, found)
                except (StorageFullError, StorageReadOnlyError):
                    return found  # made anew each time, while the disk takes nothing
                self._room -= len(found)
                if self._room < 0:
                    self._evict(keep=path)
        return found

    def _evict(self, *, keep: Path) -> None:
        """Delete the least recently used files of a full folder; find what may still be added."""
        files = []
        for path in self._folder.glob(f"*{self._suffix}"):
            with suppress(FileNotFoundError):
                status = path.stat()
                files.append((status.st_mtime_ns, status.st_size, path))
        total = sum(size for _, size, _ in files)
        limit = self._max_bytes
        for _, size, path in sorted(files):
            if total <= limit:
                break
            limit = self._max_bytes - self._max_bytes // _SPARE
            if path != keep:
                path.unlink(missing_ok=True)
                total -= size
        self._room = (self._max_bytes - total) // _SHARERS


def _read(path: Path) -> bytes | None:
    """The bytes of a file, now marked as used; None when it is not there."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    with suppress(OSError):
        os.utime(path)
    return content

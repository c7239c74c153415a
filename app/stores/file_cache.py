"""What was made from images, kept on disk, bounded: what was not asked for longest goes first."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from app.stores.files_atomic import write_atomically

_AT_ONCE = 2


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

    def get(self, key: str, make: Callable[[], bytes]) -> bytes:
        """The content of ``key``; made if it is not there. Raises what ``make`` raises."""
        name = hashlib.sha256(key.encode()).hexdigest()[:32]
        path = self._folder / f"{name}{self._suffix}"
        found = _read(path)
        if found is not None:
            return found
        with self._making:
            found = _read(path)
            if found is None:
                found = make()
                write_atomically(path, found)
                self._evict(keep=path)
        return found

    def _evict(self, *, keep: Path) -> None:
        """Delete the least recently used files until the rest fits."""
        files = []
        for path in self._folder.glob(f"*{self._suffix}"):
            with suppress(FileNotFoundError):
                status = path.stat()
                files.append((status.st_mtime_ns, status.st_size, path))
        total = sum(size for _, size, _ in files)
        for _, size, path in sorted(files):
            if total <= self._max_bytes:
                return
            if path != keep:
                path.unlink(missing_ok=True)
                total -= size


def _read(path: Path) -> bytes | None:
    """The bytes of a file, now marked as used; None when it is not there."""
    try:
        content = path.read_bytes()
        os.utime(path)
    except FileNotFoundError:
        return None
    return content

"""Files of a bounded cache: whole or not there, not flushed, kept while they are in use."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Final

from app.stores.files_atomic import storage_faults

_ALLOCATED_UNIT: Final = 512


def write_unflushed(path: Path, fill: Callable[[IO[bytes]], None]) -> int:
    """Write beside ``path``, then rename. Returns a descriptor, open and locked as in use.

    Raises StorageFullError when the disk or the quota is full, StorageReadOnlyError. Whatever is
    raised, nothing is left behind.
    """
    temporary = ""
    try:
        with storage_faults(path.name):
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}.")
            with os.fdopen(descriptor, "wb") as file:
                lock_shared(descriptor)
                fill(file)
                file.flush()
                Path(temporary).replace(path)
                return os.dup(descriptor)
    finally:
        with suppress(OSError):
            Path(temporary).unlink()


def lock_shared(descriptor: int) -> None:
    """Mark an open file as in use until it is closed, where the file system knows locks."""
    _lock(descriptor, fcntl.LOCK_SH)


def trim_folder(folder: Path, max_bytes: int) -> int:
    """Delete what was not used for longest, and is not open now, until the rest fits. Returns the
    bytes on the disk that are left, of sparse files those that are there."""
    files = []
    for path in folder.glob("*"):  # what a killed worker left half written goes too
        with suppress(FileNotFoundError):
            status = path.stat()
            size = status.st_blocks * _ALLOCATED_UNIT
            files.append((status.st_mtime_ns, size, path))
    total = sum(size for _, size, _ in files)
    for _, size, path in sorted(files):
        if total <= max_bytes:
            break
        if _delete_unused(path):
            total -= size
    return total


def _lock(descriptor: int, kind: int) -> bool:
    """False when others hold the lock, or the file cannot be locked."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _delete_unused(path: Path) -> bool:
    """Delete a file that nobody has open as in use; True once it is gone."""
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return True
    try:
        unused = _lock(descriptor, fcntl.LOCK_EX)
        if unused:
            path.unlink(missing_ok=True)
        return unused
    finally:
        os.close(descriptor)

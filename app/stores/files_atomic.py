"""Files that are whole or not there at all."""

from __future__ import annotations

import errno
import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from app.errors import StorageFullError, StorageReadOnlyError

LARGE_BYTES: Final = 1 << 18
FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""What systems say of a full disk or quota."""
_READ_ONLY: Final = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """What was written: size in bytes and SHA-256 (hex)."""

    size_bytes: int
    checksum: str


def write_atomically(path: Path, content: bytes | Iterable[bytes | memoryview]) -> WrittenFile:
    """Write beside ``path``, flush to the disk, then rename: readers see the old file or the new.

    Raises StorageFullError when the disk or the quota is full, StorageReadOnlyError. Whatever is
    raised, nothing is left behind.
    """
    temporary: Path | None = None
    try:
        with storage_faults(path.name):
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
            temporary = Path(name)
            written = _fill(descriptor, [content] if isinstance(content, bytes) else content)
            temporary.replace(path)
            temporary = None
            _flush_folder(path.parent)
            return written
    finally:
        if temporary is not None:
            with suppress(OSError):
                temporary.unlink()


@contextmanager
def storage_faults(name: str) -> Iterator[None]:
    """Tell a disk that is full, or read only, by the ``name`` of what was to be written."""
    try:
        yield
    except OSError as fault:
        if fault.errno in FULL:
            raise StorageFullError(name) from fault
        if fault.errno in _READ_ONLY:
            raise StorageReadOnlyError(name) from fault
        raise


def _fill(descriptor: int, pieces: Iterable[bytes | memoryview]) -> WrittenFile:
    total, size = hashlib.sha256(), 0
    summed: Future[None] = Future()
    summed.set_result(None)
    with os.fdopen(descriptor, "wb") as file, ThreadPoolExecutor(1) as beside:
        for piece in pieces:
            file.write(piece)
            size += len(piece)
            summed.result()
            if len(piece) < LARGE_BYTES:
                total.update(piece)
            else:  # their checksum takes as long as making and writing them
                summed = beside.submit(total.update, piece)
        _flush(file)
    return WrittenFile(size, total.hexdigest())


def _flush(file: IO[bytes]) -> None:
    file.flush()
    os.fchmod(file.fileno(), 0o644)
    os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    """Make the rename itself last; not every file system allows it."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

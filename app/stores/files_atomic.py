"""Files that are whole or not there at all."""

from __future__ import annotations

import errno
import hashlib
import os
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from app.errors import StorageFullError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """What was written: size in bytes and SHA-256 (hex)."""

    size_bytes: int
    checksum: str


def write_atomically(path: Path, chunks: bytes | Iterable[bytes]) -> WrittenFile:
    """Write beside ``path``, flush to the disk, then rename: readers see the old file or the new.

    Raises StorageFullError when the disk or the quota is full. Whatever is raised, nothing is
    left behind.
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        temporary = Path(name)
        written = _fill(descriptor, chunks)
        temporary.replace(path)
        temporary = None
        _flush_folder(path.parent)
        return written
    except OSError as fault:
        if fault.errno in _FULL:
            raise StorageFullError(path.name) from fault
        raise
    finally:
        if temporary is not None:
            with suppress(OSError):
                temporary.unlink()


def _fill(descriptor: int, chunks: bytes | Iterable[bytes]) -> WrittenFile:
    with os.fdopen(descriptor, "wb") as file:
        if isinstance(chunks, bytes):
            with ThreadPoolExecutor(1) as beside:  # a large file's checksum takes as long as it
                digest = beside.submit(hashlib.sha256, chunks)
                file.write(chunks)
                _flush(file)
            return WrittenFile(len(chunks), digest.result().hexdigest())
        total, size = hashlib.sha256(), 0
        for chunk in chunks:
            file.write(chunk)
            total.update(chunk)
            size += len(chunk)
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

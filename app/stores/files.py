"""Published files where they lie: read only, and only what the metadata store points to."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from app.errors import NotFoundError
from app.stores.remote.addresses import is_remote
from app.stores.remote.files import RemoteFiles
from app.stores.remote.objects import RemoteFacts

PIECE_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class PublishedFile:
    """A file of this machine that is there now."""

    path: Path
    facts: os.stat_result

    @property
    def size_bytes(self) -> int:
        """Its size."""
        return self.facts.st_size

    @property
    def modified_s(self) -> float:
        """When it was last changed (Unix time)."""
        return self.facts.st_mtime

    def pieces(self) -> Iterator[bytes]:
        """Its bytes. Raises NotFoundError when it is not any more what it was."""
        left = self.size_bytes
        with self.path.open("rb") as file:
            while left > 0:
                piece = file.read(min(left, PIECE_BYTES))
                if not piece:
                    raise NotFoundError("The whole of a file of this dataset")
                left -= len(piece)
                yield piece


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file elsewhere that was there when its storage was asked."""

    path: str
    facts: RemoteFacts
    files: RemoteFiles

    @property
    def size_bytes(self) -> int:
        """Its size."""
        return self.facts.size_bytes

    @property
    def modified_s(self) -> float:
        """When it was last changed (Unix time); 0 where that is not known."""
        return float(self.facts.modified_s)

    def pieces(self, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """Its bytes from ``start`` up to but without ``stop``, as they come.

        Raises ImageFormatError when it was replaced, NotFoundError, RemoteUnavailableError.
        """
        end = self.size_bytes if stop is None else stop
        if start >= end:
            return
        try:
            yield from self.files.stream(self.path, self.facts, start, end)
        except OSError:
            raise NotFoundError("The file of this dataset") from None


def find_file(path: str) -> PublishedFile | None:
    """The file, or None if it is gone, no regular file, not readable by the service or
    elsewhere."""
    try:
        facts = Path(path).stat()
    except OSError:
        return None
    if not stat.S_ISREG(facts.st_mode):
        return None
    return PublishedFile(Path(path), facts)


def get_file(path: str, remote: RemoteFiles | None) -> PublishedFile | RemoteFile:
    """The file; NotFoundError, without its path, if it is gone, and RemoteUnavailableError."""
    found: PublishedFile | RemoteFile | None
    if remote is not None and is_remote(path):
        found = _find_elsewhere(path, remote)
    else:
        found = find_file(path)
    if found is None:
        raise NotFoundError("The file of this dataset")
    return found


def _find_elsewhere(path: str, remote: RemoteFiles) -> RemoteFile | None:
    try:
        return RemoteFile(path, remote.facts(path), remote)
    except OSError:
        return None

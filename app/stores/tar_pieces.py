"""A tar of published files, made while it is sent: nothing is copied to the disk, and its length is
known before."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from app.stores.files import PublishedFile, RemoteFile

_END: Final = bytes(2 * tarfile.BLOCKSIZE)


@dataclass(frozen=True, slots=True)
class TarMember:
    """A file of the tar: its ``name`` there, and what it holds."""

    name: str
    content: PublishedFile | RemoteFile | bytes

    @property
    def size_bytes(self) -> int:
        """Its size."""
        held = self.content
        return len(held) if isinstance(held, bytes) else held.size_bytes

    def header(self, mtime_s: float) -> bytes:
        """What stands before it in the tar (POSIX.1-2001)."""
        info = tarfile.TarInfo(self.name)
        info.size, info.mode = self.size_bytes, 0o644
        held = self.content
        info.mtime = int(mtime_s if isinstance(held, bytes) else held.modified_s)
        return info.tobuf(tarfile.PAX_FORMAT)


def tar_size(members: Sequence[TarMember], mtime_s: float) -> int:
    """Bytes of :func:`tar_pieces`."""
    whole = sum(len(each.header(mtime_s)) + _padded(each.size_bytes) for each in members)
    return whole + len(_END)


def tar_pieces(members: Sequence[TarMember], mtime_s: float) -> Iterator[bytes]:
    """The tar; ``mtime_s`` (Unix time) is that of what is no file.

    Raises NotFoundError when a file is not any more what it was when it was found, of files
    elsewhere ImageFormatError or RemoteUnavailableError.
    """
    for each in members:
        yield each.header(mtime_s)
        held = each.content
        yield from [held] if isinstance(held, bytes) else held.pieces()
        yield bytes(_padded(each.size_bytes) - each.size_bytes)
    yield _END


def _padded(size: int) -> int:
    return -(-size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE

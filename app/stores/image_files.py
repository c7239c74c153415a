"""Files of images, on this machine or elsewhere: told apart by their paths, read in one way."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from app.errors import ImageFormatError, ServiceError
from app.stores.fits_files import PACKED_SUFFIXES, open_fits
from app.stores.remote.addresses import is_remote, name_of
from app.stores.remote.files import OpenRemote, RemoteFiles

Identity = tuple[int, int, int]
"""Of a file: inode, length and time of the last change; elsewhere a digest of its ETag, or 0,
its length and 0, or the time."""
Span = tuple[int, int]
"""Bytes from start up to but without stop."""

AHEAD_BYTES: Final = 1 << 16
"""What is read at once of headers that lie elsewhere."""


class OpenFile(Protocol):
    """An open file."""

    @property
    def descriptor(self) -> int:
        """Open for reading: what :meth:`need` was called for can be read at its place."""

    @property
    def identity(self) -> Identity:
        """Of this very file."""

    @property
    def size_bytes(self) -> int:
        """Its length."""

    def need(self, spans: Iterable[Span]) -> None:
        """Make parts of it readable. Raises ImageFormatError, RemoteUnavailableError."""


@dataclass(frozen=True, slots=True)
class ImageFiles:
    """Opens files by their paths: absolute, below ``data_dir``, or addresses. Without ``remote``
    no address is known."""

    data_dir: Path
    remote: RemoteFiles | None = None

    def identity(self, path: str) -> Identity:
        """What tells a file from the one that replaces it. Raises OSError, of files elsewhere also
        RemoteUnavailableError and ImageFormatError."""
        if is_remote(path):
            return self.elsewhere(path).facts(path).identity
        return identity_of((self.data_dir / path).stat())

    def may_exist(self, path: str) -> bool:
        """False for a file that is known to be gone."""
        try:
            self.identity(path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except (OSError, ServiceError):
            return True
        return True

    def open(self, path: str) -> AbstractContextManager[OpenFile]:
        """A file. Raises as :meth:`identity` does."""
        return self.elsewhere(path).open(path) if is_remote(path) else _local(self.data_dir / path)

    @contextmanager
    def open_fits(self, path: str, **options: Any) -> Iterator[Any]:
        """An astropy HDUList of a file, see :func:`app.stores.fits_files.open_fits`."""
        if not is_remote(path):
            with open_fits(self.data_dir / path, **options) as hdulist:
                yield hdulist
            return
        with self._reader(path) as reader, open_fits(reader, name_of(path), **options) as hdulist:
            yield hdulist

    @contextmanager
    def _reader(self, path: str) -> Iterator[io.BufferedReader]:
        with self.elsewhere(path).open(path) as opened:
            if path.endswith(PACKED_SUFFIXES):
                opened.need([(0, opened.size_bytes)])
            yield io.BufferedReader(_Reader(opened), AHEAD_BYTES)

    def elsewhere(self, path: str) -> RemoteFiles:
        """What reads an address. Raises ImageFormatError where nothing does."""
        if self.remote is None:
            raise ImageFormatError(name_of(path), "it lies elsewhere, which is not looked for here")
        return self.remote


def identity_of(facts: os.stat_result) -> Identity:
    """Of a file of this machine."""
    return facts.st_ino, facts.st_size, facts.st_mtime_ns


@dataclass(frozen=True, slots=True)
class _OpenLocal:
    descriptor: int
    identity: Identity
    size_bytes: int

    def need(self, spans: Iterable[Span]) -> None:
        """All of it is there."""


@contextmanager
def _local(path: Path) -> Iterator[_OpenLocal]:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        facts = os.fstat(descriptor)
        yield _OpenLocal(descriptor, identity_of(facts), facts.st_size)
    finally:
        os.close(descriptor)


class _Reader(io.RawIOBase):
    """A file elsewhere as astropy reads files: no descriptor is told, which would be read without
    asking."""

    def __init__(self, opened: OpenRemote) -> None:
        super().__init__()
        self._opened = opened
        self._place = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        zero = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._opened.size_bytes}
        self._place = zero[whence] + offset
        return self._place

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        length = max(0, min(len(view), self._opened.size_bytes - self._place))
        self._opened.need([(self._place, self._place + length)])
        got = os.preadv(self._opened.descriptor, [view[:length]], self._place)
        self._place += got
        return got

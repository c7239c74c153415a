"""Files that the service makes and keeps: products and results of jobs, on its own disk or in
S3-style storage.

Which of the two a file is in is told by its path, so what was written before the setting changed
is found as ever. A file in S3 is whole as soon as it is seen. It has no time of access: when it was
used last is told by an empty file in ``cache/used``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from app.errors import NotFoundError, RemoteUnavailableError, StorageReadOnlyError
from app.stores.data_folder import last_use_s, mark_used, remove, set_aside, sha256_of
from app.stores.files import find_file, get_file
from app.stores.files_atomic import write_atomically
from app.stores.remote.addresses import Address, is_remote, name_of
from app.stores.remote.files import RemoteFiles

NO_BUCKET: Final = "there is no such bucket"
USED: Final = Path("cache") / "used"
"""Where it is noted when files elsewhere were used."""


@dataclass(frozen=True, slots=True)
class KeptFile:
    """What was written: size (bytes), SHA-256 (hex), and when (ns of Unix time)."""

    size_bytes: int
    checksum: str
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class KeptFacts:
    """A file that is there: size (bytes), and when it was written and when written or used last
    (seconds of Unix time)."""

    size_bytes: int
    written_s: float
    used_s: float


@dataclass(frozen=True, slots=True)
class KeptFiles:
    """New files lie below ``root``, an ``s3://`` address without '/' at its end that ``remote``
    reads and writes, else below ``data_dir``; so do relative paths."""

    data_dir: Path
    remote: RemoteFiles | None = None
    root: str | None = None
    redirects: bool = False
    """Whether clients get whole files from the storage itself, which they then must reach."""

    @property
    def home(self) -> str:
        """Below which new files lie."""
        return str(self.data_dir) if self.root is None else self.root

    def place(self, relative: str) -> str:
        """The path of a new file."""
        return f"{self.home}/{relative}"

    def write(self, path: str, pieces: bytes | Iterable[bytes | memoryview]) -> KeptFile:
        """Write a file that is whole or not there at all.

        Raises StorageFullError, StorageReadOnlyError, RemoteUnavailableError and what ``pieces``
        raises, and then leaves nothing behind.
        """
        if not is_remote(path):
            written = write_atomically(self.data_dir / path, pieces)
            mtime_ns = (self.data_dir / path).stat().st_mtime_ns
            return KeptFile(written.size_bytes, written.checksum, mtime_ns)
        total = hashlib.sha256()

        def summed() -> Iterator[bytes | memoryview]:
            for piece in [pieces] if isinstance(pieces, bytes) else pieces:
                total.update(piece)
                yield piece

        try:
            with _answers(path):
                facts = self._elsewhere(path).write(path, summed())
        except FileNotFoundError:
            raise RemoteUnavailableError(name_of(path), NO_BUCKET) from None
        return KeptFile(facts.size_bytes, total.hexdigest(), facts.mtime_ns)

    def facts(self, path: str) -> KeptFacts | None:
        """Of a file; None when it is gone. Raises RemoteUnavailableError."""
        if not is_remote(path):
            return self._facts_here(path)
        try:
            with _answers(path):
                facts = self._elsewhere(path).facts(path)
        except FileNotFoundError:
            return None
        return self._facts_there(path, facts.size_bytes, facts.modified_s)

    def look(self, folder: str) -> Callable[[str], KeptFacts | None]:
        """As :meth:`facts` of many files: of those below ``folder`` of ``root`` a storage elsewhere
        is asked once. Raises RemoteUnavailableError."""
        listed = dict(self.listed(folder))
        below = None if self.root is None else f"{self.root}/{folder}/"

        def find(path: str) -> KeptFacts | None:
            if below is not None and path.startswith(below):
                return listed.get(path)
            return self.facts(path)

        return find

    def listed(self, folder: str) -> Iterator[tuple[str, KeptFacts]]:
        """All files below ``folder`` of ``root``; none where that is the disk. Raises
        RemoteUnavailableError."""
        if self.root is None:
            return
        remote, place = self._elsewhere(self.root), f"{self.root}/{folder}/"
        try:
            with _answers(place):
                for address, facts in remote.objects.list(Address.of(place)):
                    path = str(address)
                    yield path, self._facts_there(path, facts.size_bytes, facts.modified_s)
        except FileNotFoundError:
            raise RemoteUnavailableError(name_of(self.root), NO_BUCKET) from None

    def read(self, path: str) -> bytes | None:
        """What a file holds; None when it is gone. Raises RemoteUnavailableError."""
        try:
            return b"".join(get_file(path, self.remote).pieces())
        except NotFoundError:
            return None

    def checksum(self, path: str) -> str:
        """SHA-256 (hex) of a file. Raises OSError, NotFoundError, RemoteUnavailableError."""
        if not is_remote(path):
            return sha256_of(self.data_dir / path)
        total = hashlib.sha256()
        for piece in get_file(path, self.remote).pieces():
            total.update(piece)
        return total.hexdigest()

    def mark_used(self, path: str) -> None:
        """Note that a file is used now, once an hour and where that can be written."""
        if not is_remote(path):
            mark_used(self.data_dir / path)
            return
        with suppress(OSError):
            note = self._note(path)
            note.parent.mkdir(parents=True, exist_ok=True)
            note.touch()

    def signed_address(self, path: str, lifetime_s: float) -> str | None:
        """Where everybody may fetch a file of ``root`` for a while; None for others, and unless
        clients are to be sent there."""
        if not self.redirects or self.root is None or not path.startswith(f"{self.root}/"):
            return None
        return self._elsewhere(path).objects.sign(Address.of(path), lifetime_s)

    def remove(self, path: str) -> None:
        """Delete a file, or a folder with all it holds. Raises OSError, RemoteUnavailableError."""
        if not is_remote(path):
            remove(self.data_dir / path)
            return
        with _answers(path):
            self._elsewhere(path).remove(path)
        self._note(path).unlink(missing_ok=True)

    @contextmanager
    def taken_out(self, path: str) -> Iterator[None]:
        """A file is gone once what is done within succeeds. If that fails, one of this disk is
        there as before; one elsewhere is gone all the same, for it has no second name. Raises
        OSError, RemoteUnavailableError."""
        if is_remote(path):
            self.remove(path)
            yield
            return
        aside = set_aside(self.data_dir / path)
        try:
            yield
        except BaseException:
            if aside is not None:
                aside.rename(self.data_dir / path)
            raise
        if aside is not None:
            remove(aside)

    def _elsewhere(self, path: str) -> RemoteFiles:
        if self.remote is None:
            raise RemoteUnavailableError(name_of(path), "files elsewhere are not looked for here")
        return self.remote

    def _facts_here(self, path: str) -> KeptFacts | None:
        found = find_file(str(self.data_dir / path))
        if found is None:
            return None
        used_s = max(found.facts.st_atime, found.modified_s)
        return KeptFacts(found.size_bytes, found.modified_s, used_s)

    def _facts_there(self, path: str, size_bytes: int, modified_s: float) -> KeptFacts:
        used_s = last_use_s(self._note(path)) or 0.0
        return KeptFacts(size_bytes, modified_s, max(used_s, modified_s))

    def _note(self, path: str) -> Path:
        return self.data_dir / USED / hashlib.sha256(path.encode()).hexdigest()[:32]


THIS_MACHINE: Final = KeptFiles(Path("/"))
"""Files of this disk by their absolute paths."""


@contextmanager
def _answers(path: str) -> Iterator[None]:
    """A storage that refuses to write or to tell is one that is read only."""
    try:
        yield
    except PermissionError as fault:
        raise StorageReadOnlyError(name_of(path)) from fault

"""Backups as tar files: a copy of the SQLite database, what lies beside it in the data folder, and
a list of all with their checksums."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import sqlite3
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Final

from app.errors import UsageError
from app.stores.database_faults import database_faults
from app.stores.files_atomic import storage_faults

DATABASE: Final = "skyloom.sqlite3"
MANIFEST: Final = "manifest.json"
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_CHUNK: Final = 1 << 20
_MANIFEST_MAX: Final = 1 << 20


def copy_sqlite(source: Path, target: Path) -> None:
    """Copy a database as it is at one moment, whoever writes to it meanwhile.

    Raises StoreUnavailableError when either cannot be read or written, or the copy is not sound.
    """
    with (
        database_faults(),
        closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True)) as old,
        closing(sqlite3.connect(target)) as new,
    ):
        old.backup(new)
        new.execute("PRAGMA journal_mode = DELETE")  # one file, nothing beside it
        (verdict,) = new.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise sqlite3.DatabaseError(f"the copy is not sound: {verdict}")


def write_backup(file: Path, members: Mapping[str, Path], about: Mapping[str, Any]) -> int:
    """Write ``members`` (name -> file) and a list of them to a new file that only its owner may
    read; its size in bytes.

    Raises UsageError when there is a file already or it cannot be written, StorageFullError,
    StorageReadOnlyError.
    """
    if file.exists():
        raise UsageError(f"{file}: there is a file already")
    temporary = ""
    try:
        with storage_faults(file.name):
            descriptor, temporary = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
            with os.fdopen(descriptor, "wb") as raw:
                _fill(raw, members, about)
                raw.flush()
                os.fsync(raw.fileno())
            os.link(temporary, file)  # fails where the name was taken meanwhile
            return file.stat().st_size
    except OSError as fault:
        raise UsageError(f"{file}: {fault.strerror}") from fault
    finally:
        with suppress(OSError):
            Path(temporary).unlink()


def _fill(raw: IO[bytes], members: Mapping[str, Path], about: Mapping[str, Any]) -> None:
    sums = {name: _sha256(path) for name, path in members.items()}
    text = json.dumps({**about, "files": sums}, indent=1).encode()
    with tarfile.open(fileobj=raw, mode="w") as archive:
        info = tarfile.TarInfo(MANIFEST)
        info.size = len(text)
        archive.addfile(info, io.BytesIO(text))
        for name, path in members.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = path.stat().st_size, 0o600
            with path.open("rb") as content:
                archive.addfile(info, content)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def open_backup(file: Path) -> Iterator[Backup]:
    """Open what :func:`write_backup` wrote. Raises UsageError when it is none."""
    try:
        with tarfile.open(file, mode="r:") as archive:
            yield Backup(file, archive)
    except (OSError, tarfile.TarError) as fault:
        reason = getattr(fault, "strerror", None) or "no backup, or a damaged one"
        raise UsageError(f"{file}: {reason}") from fault


class Backup:
    """A backup that is open: ``about`` is what it tells of itself, ``names`` what is in it."""

    def __init__(self, file: Path, archive: tarfile.TarFile) -> None:
        self._file = file
        self._archive = archive
        told = self._manifest()
        self._sums: dict[str, str] = told.pop("files")
        self.about: Final[Mapping[str, Any]] = told
        self.names: Final = tuple(self._sums)

    def _manifest(self) -> dict[str, Any]:
        first = self._archive.next()
        content = None if first is None else self._archive.extractfile(first)
        if first is None or first.name != MANIFEST or content is None:
            raise tarfile.ReadError
        try:
            told: dict[str, Any] = json.loads(content.read(_MANIFEST_MAX))
            if not all(_NAME.fullmatch(name) for name in told["files"]):
                raise tarfile.ReadError
        except (ValueError, KeyError, TypeError) as fault:
            raise tarfile.ReadError from fault
        return told

    def extract(self, name: str, target: Path) -> None:
        """Write one of the files to ``target``, whole or not at all, readable by its owner only.

        Raises UsageError when it is damaged or there is a file already.
        """
        content = self._archive.extractfile(name)
        if content is None:
            raise tarfile.ReadError
        descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        digest = hashlib.sha256()
        try:
            with os.fdopen(descriptor, "wb") as out:
                while chunk := content.read(_CHUNK):
                    digest.update(chunk)
                    out.write(chunk)
                out.flush()
                os.fsync(out.fileno())
            if digest.hexdigest() != self._sums[name]:
                raise UsageError(f"{self._file}: {name} in it is damaged")
            os.link(temporary, target)
        finally:
            Path(temporary).unlink()

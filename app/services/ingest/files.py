"""Which files a call means, and which of them are companions of others."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.errors import UsageError
from app.services.ingest.profile import Profile
from app.stores.fits_files import is_fits_name


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file: absolute path, path below the folder that was asked for ('/' between), size, mtime
    and its companions as (role, absolute path)."""

    path: str
    name: str
    size: int
    mtime_ns: int
    companions: tuple[tuple[str, str], ...] = ()
    companion_of: str | None = None
    fault: str | None = None


def find_files(paths: Sequence[Path], profile: Profile) -> list[FoundFile]:
    """Every FITS file below the folders given, and every file given, sorted, each once.

    Names that start with a dot are passed over. Raises UsageError for a path that does not exist.
    """
    listed: dict[Path, str] = {}
    for path in paths:
        if not path.exists():
            raise UsageError(f"{path}: there is no such file or folder")
        for found, name in _below(path):
            if not profile.is_excluded(name):
                listed.setdefault(found, name)
    companions = _Companions(profile)
    for folder in {path.parent for path in listed}:
        companions.add_folder(folder)
    return [_found(path, name, companions) for path, name in sorted(listed.items())]


def _below(path: Path) -> Iterable[tuple[Path, str]]:
    if not path.is_dir():
        yield path.parent.resolve() / path.name, path.name
        return
    top = path.resolve()
    for folder, folders, names in os.walk(top):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in names:
            if is_fits_name(name) and not name.startswith("."):
                found = Path(folder, name)
                yield found, found.relative_to(top).as_posix()


def _found(path: Path, name: str, companions: _Companions) -> FoundFile:
    try:
        status = path.stat()
    except OSError as fault:
        return FoundFile(str(path), name, 0, 0, fault=str(fault.strerror))
    if not stat.S_ISREG(status.st_mode):  # a pipe or a device could keep its reader for ever
        return FoundFile(str(path), name, 0, 0, fault="not an ordinary file")
    return FoundFile(
        path=str(path),
        name=name,
        size=status.st_size,
        mtime_ns=status.st_mtime_ns,
        companions=companions.of(path),
        companion_of=companions.owner(path),
    )


class _Companions:
    """Files that belong to others, found among all files of the folders at hand."""

    def __init__(self, profile: Profile) -> None:
        self._rules = profile.companions
        self._of: dict[Path, list[tuple[str, str]]] = {}
        self._owner: dict[Path, str] = {}

    def add_folder(self, folder: Path) -> None:
        """Look at the names in a folder."""
        for path in sorted(folder.iterdir()) if self._rules else ():
            for role, other in self._named(path):
                if other.is_file():
                    self._of.setdefault(path, []).append((role, str(other)))
                    self._owner.setdefault(other, path.name)

    def _named(self, path: Path) -> Iterable[tuple[str, Path]]:
        for rule in self._rules:
            other = rule.find_name(path.name)
            if other is not None:
                yield rule.role, Path(os.path.normpath(path.parent / other))

    def of(self, path: Path) -> tuple[tuple[str, str], ...]:
        """(role, path) of the companions of a file; a companion itself has none."""
        return () if path in self._owner else tuple(self._of.get(path, ()))

    def owner(self, path: Path) -> str | None:
        """The name of the file that a file belongs to, or None."""
        return self._owner.get(path)

"""``skyloom backup`` and ``skyloom restore``: the database, keys and settings in one file.

Images lie where they were ingested from and are backed up with whatever they belong to; products,
results and caches can be made again.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from app import __version__
from app.errors import UsageError
from app.stores.backup_files import DATABASE, copy_sqlite, open_backup, write_backup
from app.stores.database import sqlite_file

BESIDE: Final = ("*.key", "skyloom.toml")
"""What lies in the data folder and cannot be made again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupReport:
    """The names of what was saved or restored, with the bytes of the backup. ``has_database`` is
    False where that is PostgreSQL's own affair."""

    names: tuple[str, ...]
    size_bytes: int
    has_database: bool


def back_up(url: str, *, data_dir: Path, file: Path, now: datetime) -> BackupReport:
    """Save the database (a SQLite one, as it is at one moment, while the service runs) with the
    keys and settings of the data folder.

    Raises UsageError when there is nothing to save or the file exists or cannot be written,
    StoreUnavailableError, StorageFullError.
    """
    database = sqlite_file(url)
    if database is not None and not database.exists():
        raise UsageError(f"there is no database {database}: run skyloom init")
    if not file.parent.is_dir():
        raise UsageError(f"{file}: there is no folder {file.parent}")
    members = {path.name: path for path in _beside(data_dir)}
    draft = Path(tempfile.mkdtemp(dir=file.parent, prefix=f".{file.name}."))
    try:
        if database is not None:
            copy_sqlite(database, draft / DATABASE)
            members = {DATABASE: draft / DATABASE, **members}
        about = {"skyloom": __version__, "made": now.isoformat(timespec="seconds")}
        size = write_backup(file, members, about)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return BackupReport(names=tuple(members), size_bytes=size, has_database=database is not None)


def restore(url: str, *, data_dir: Path, file: Path) -> BackupReport:
    """Put back what :func:`back_up` saved, where nothing of it is yet.

    Raises UsageError for a file that is no backup or is damaged, for what is there already, and
    when a copy of SQLite is to become a database of PostgreSQL.
    """
    with open_backup(file) as backup:
        database = sqlite_file(url)
        if DATABASE in backup.names and database is None:
            raise UsageError(
                f"{file} holds a SQLite database, and SKYLOOM_DATABASE_URL names PostgreSQL"
            )
        targets = {
            name: database if name == DATABASE and database is not None else data_dir / name
            for name in backup.names
        }
        for target in targets.values():
            if target.exists():
                raise UsageError(f"{target} is there already: restore into an empty place")
        for name, target in targets.items():
            target.parent.mkdir(parents=True, exist_ok=True)
            backup.extract(name, target)
        return BackupReport(
            names=backup.names,
            size_bytes=file.stat().st_size,
            has_database=DATABASE in backup.names,
        )


def _beside(data_dir: Path) -> Iterator[Path]:
    for pattern in BESIDE:
        yield from sorted(path for path in data_dir.glob(pattern) if path.is_file())

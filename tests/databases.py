"""An initialised, empty SQLite database, made once in each process that runs tests."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

from app.services.setup import init_database


@lru_cache(maxsize=1)
def empty_database() -> bytes:
    """The file's content."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "skyloom.sqlite3"
        init_database(f"sqlite:///{path}")
        return path.read_bytes()


def database_at(path: Path) -> str:
    """The URL of a file, which is made when it is missing."""
    if not path.exists():
        path.write_bytes(empty_database())
    return f"sqlite:///{path}"

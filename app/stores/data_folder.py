"""What lies in the data folder: products, results, and what interrupted writers left there.

Writers fill a file whose name begins with a dot and then rename it
(:mod:`app.stores.files_atomic`), so a file with such a name that nobody has written to for a while
is what a killed process left.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
import uuid
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

PRODUCTS: Final = "products"
RESULTS: Final = "results"
_WRITTEN: Final = (PRODUCTS, RESULTS, "cache", "hips")
"""Folders whose files are written beside their names."""
_ASIDE: Final = ".aside."
_CHUNK: Final = 1 << 20
_NOTED_EVERY_NS: Final = 3600 * 10**9


def size_of(path: Path) -> int | None:
    """Bytes of a file, None when there is none."""
    try:
        return path.stat().st_size if path.is_file() else None
    except OSError:
        return None


def last_use_s(path: Path) -> float | None:
    """When a file was written or used last (seconds of Unix time); None when there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return max(status.st_atime, status.st_mtime)


def mark_used(path: Path) -> None:
    """Note that a file is used now, once an hour and where that can be written. When it was
    written is left as it is."""
    now_ns = time.time_ns()
    with suppress(OSError):
        status = path.stat()
        if now_ns - status.st_atime_ns > _NOTED_EVERY_NS:
            os.utime(path, ns=(now_ns, status.st_mtime_ns))


def sha256_of(path: Path) -> str:
    """SHA-256 of a file (hex); to have been looked at does not count as use. Raises OSError."""
    digest = hashlib.sha256()
    status = path.stat()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    with suppress(OSError):
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    return digest.hexdigest()


def product_files(data_dir: Path) -> list[Path]:
    """Every whole file below the folder of products, by name."""
    found = (data_dir / PRODUCTS).rglob("*.fits")
    return sorted(path for path in found if not path.name.startswith("."))


def leftovers(data_dir: Path, *, before_s: float) -> Iterator[Path]:
    """Files that interrupted writers left, not written to since ``before_s`` (Unix time)."""
    for folder in _WRITTEN:
        for path in sorted((data_dir / folder).rglob(".*")):
            with suppress(OSError):
                if path.is_file() and path.stat().st_mtime < before_s:
                    yield path


def results_without(data_dir: Path, jobs: Collection[str], *, before_s: float) -> Iterator[Path]:
    """Result folders of none of the ``jobs``, not written to since ``before_s``."""
    for path in sorted((data_dir / RESULTS).glob("*")):
        with suppress(OSError):
            if path.is_dir() and path.name not in jobs and path.stat().st_mtime < before_s:
                yield path


def set_aside(path: Path) -> Path | None:
    """Take a file out of the way, under a name that counts as left behind; None when there is
    none. Raises OSError."""
    aside = path.with_name(f"{_ASIDE}{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        return path.rename(aside)
    except FileNotFoundError:
        return None


def remove(path: Path) -> None:
    """Delete a file, or a folder with all it holds. Raises OSError."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)

"""Published files where they lie: read only, and only what the metadata store points to."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from app.errors import NotFoundError


@dataclass(frozen=True, slots=True)
class PublishedFile:
    """A file that is there now."""

    path: Path
    facts: os.stat_result

    @property
    def size_bytes(self) -> int:
        """Its size."""
        return self.facts.st_size


def find_file(path: str) -> PublishedFile | None:
    """The file, or None if it is gone, no regular file or not readable by the service."""
    try:
        facts = Path(path).stat()
    except OSError:
        return None
    if not stat.S_ISREG(facts.st_mode):
        return None
    return PublishedFile(Path(path), facts)


def get_file(path: str) -> PublishedFile:
    """The file; NotFoundError, without its path, if it is gone."""
    found = find_file(path)
    if found is None:
        raise NotFoundError("The file of this dataset")
    return found

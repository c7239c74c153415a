"""What a file of a table is to those who load it, whatever its format."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from app.errors import UsageError
from app.schema.fields import Field

BATCH_ROWS = 10_000
"""Rows that are held at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A table in a file. ``fields`` describe its columns under the names they have there.

    ``read()`` starts a pass over the rows: batches whose columns stand in the order of the fields
    and have their types (:func:`app.schema.batches.arrow_type`). ``rows`` is None when only
    reading tells. ``notes`` say what could not be taken over as it is.
    """

    path: Path
    fields: tuple[Field, ...]
    read: Callable[[], Iterator[pa.RecordBatch]]
    rows: int | None = None
    description: str = ""
    notes: tuple[str, ...] = ()


class FileError(UsageError):
    """{0}: {1}"""

    def __init__(self, path: Path | str, reason: str) -> None:
        super().__init__(str(path), reason)

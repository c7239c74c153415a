"""Which formats are offered and how RESPONSEFORMAT names them (DALI 1.1, section 3.4.3)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from app.errors import UnsupportedFormatError, quoted
from app.schema.fields import Field
from app.tabular import csv, fits, json, parquet, tsv

Write = Callable[[Sequence[Field], Iterable[pa.RecordBatch], int], Iterator[bytes]]
"""(fields, batches, maxrec) -> pieces of the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputFormat:
    """One format.

    ``media_types``: the first is the one to declare; a client that asks for another gets its
    answer labelled so. ``names``: short names, and media types answered as the first one.
    """

    name: str
    media_types: tuple[str, ...]
    names: tuple[str, ...]
    write: Write
    ivo_id: str | None = None

    @property
    def media_type(self) -> str:
        """The media type to declare."""
        return self.media_types[0]


class FormatRegistry:
    """The formats offered; the first is the default."""

    def __init__(self, formats: Sequence[OutputFormat]) -> None:
        self.formats = tuple(formats)
        self._known: dict[str, tuple[OutputFormat, str]] = {}
        for offered in formats:
            for name in offered.names:
                self._known[_folded(name)] = (offered, offered.media_type)
            for media_type in offered.media_types:
                self._known[_folded(media_type)] = (offered, media_type)

    def choose(
        self, asked: str | None, *, parameter: str = "RESPONSEFORMAT"
    ) -> tuple[OutputFormat, str]:
        """The format and the media type to label the answer with.

        Raises UnsupportedFormatError, naming ``parameter`` and what is offered.
        """
        if asked is None or not asked.strip():
            return self.formats[0], self.formats[0].media_type
        found = self._known.get(_folded(asked))
        if found is None:
            offered = ", ".join(f"{f.names[0]} ({f.media_type})" for f in self.formats)
            raise UnsupportedFormatError(parameter, f"{quoted(asked)}; offered are {offered}")
        return found


def _folded(name: str) -> str:
    """Case and blanks do not count; in a URL a ``+`` that was not escaped arrives as a blank."""
    folded = re.sub(r"\s*([;=])\s*", r"\1", name.strip().lower())
    return folded.replace("x-votable xml", "x-votable+xml").replace('"', "")


CSV = OutputFormat(
    name="csv",
    media_types=("text/csv;header=present", "text/csv"),
    names=("csv",),
    write=csv.write,
)
TSV = OutputFormat(
    name="tsv",
    media_types=("text/tab-separated-values",),
    names=("tsv",),
    write=tsv.write,
)
JSON = OutputFormat(
    name="json",
    media_types=("application/json",),
    names=("json",),
    write=json.write,
)
FITS = OutputFormat(
    name="fits",
    media_types=("application/fits",),
    names=("fits",),
    write=fits.write,
)
PARQUET = OutputFormat(
    name="parquet",
    media_types=("application/vnd.apache.parquet",),
    names=("parquet",),
    write=parquet.write,
)

"""Comma-separated values with a header line (RFC 4180).

NULL is empty and empty text is ``""``. Numbers are the shortest that read back as the same value;
reals that are not finite are NaN, Infinity and -Infinity. Lines end with a line feed alone, which
HTTP allows for text (RFC 9110, appendix B.3). In a table of one column NULL is ``""`` too: many
readers leave out empty lines.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Final

import pyarrow as pa

from app.cells.codes import CSV
from app.cells.text import Marks, TextRows
from app.schema.fields import Field
from app.tabular.stream import stream_rows

_MARKS: Final = Marks(
    style=CSV,
    cells=",",
    rows="\n",
    after="\n",
    not_a_number="NaN",
    infinity="Infinity",
    minus_infinity="-Infinity",
)


def write(
    fields: Sequence[Field], batches: Iterable[pa.RecordBatch], maxrec: int
) -> Iterator[bytes]:
    """The rows as text/csv;header=present. The format has no place for an overflow mark."""
    marks = replace(_MARKS, null='""') if len(fields) == 1 else _MARKS
    rows = TextRows(fields, marks)

    def head() -> bytes:
        return (",".join(_quoted(field.name) for field in fields) + "\n").encode()

    return stream_rows(batches, maxrec, head=head, encode=rows.encode)


def _quoted(name: str) -> str:
    if any(character in name for character in ',"\r\n'):
        return '"' + name.replace('"', '""') + '"'
    return name

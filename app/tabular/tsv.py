"""Tab-separated values with a header line (IANA text/tab-separated-values).

NULL and empty text are empty. Numbers are written as in CSV.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import pyarrow as pa

from app.cells.codes import TSV
from app.cells.text import Marks, TextRows
from app.schema.fields import Field
from app.tabular.stream import stream_rows

_BREAKS: Final = re.compile("[\t\r\n]")
_MARKS: Final = Marks(
    style=TSV,
    cells="\t",
    rows="\n",
    after="\n",
    not_a_number="NaN",
    infinity="Infinity",
    minus_infinity="-Infinity",
)


def write(
    fields: Sequence[Field], batches: Iterable[pa.RecordBatch], maxrec: int
) -> Iterator[bytes]:
    """The rows. The format cannot hold tabs and line ends in a value: they become blanks."""

    def head() -> bytes:
        return ("\t".join(_BREAKS.sub(" ", field.name) for field in fields) + "\n").encode()

    return stream_rows(batches, maxrec, head=head, encode=TextRows(fields, _MARKS).encode)

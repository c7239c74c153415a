"""Tab-separated values with a header line (IANA text/tab-separated-values)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from app.schema.fields import Field
from app.tabular.stream import stream_rows
from app.tabular.text import join_cells, join_rows

_BREAKS = "[\t\r\n]"


def write(
    fields: Sequence[Field], batches: Iterable[pa.RecordBatch], maxrec: int
) -> Iterator[bytes]:
    """The rows. The format cannot hold tabs and line ends in a value: they become blanks."""

    def head() -> bytes:
        return ("\t".join(re.sub(_BREAKS, " ", field.name) for field in fields) + "\n").encode()

    return stream_rows(fields, batches, maxrec, head=head, encode=_encode)


def _encode(batch: pa.RecordBatch) -> bytes:
    rows = join_cells([_cells(column) for column in batch.columns], between="\t", null="")
    return join_rows(rows, "\n") + b"\n"


def _cells(column: pa.Array) -> pa.Array:
    text = pc.cast(column, pa.large_string())
    if pa.types.is_string(column.type):
        return pc.replace_substring_regex(text, _BREAKS, " ")
    return text

"""Comma-separated values with a header line (RFC 4180). NULL is empty, empty text is ``""``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import pyarrow as pa
import pyarrow.csv

from app.schema.fields import Field
from app.tabular.stream import stream_rows

_OPTIONS = pyarrow.csv.WriteOptions(include_header=False, quoting_style="needed")


def write(
    fields: Sequence[Field], batches: Iterable[pa.RecordBatch], maxrec: int
) -> Iterator[bytes]:
    """The rows as text/csv;header=present. The format has no place for an overflow mark."""

    def head() -> bytes:
        return (",".join(_quoted(field.name) for field in fields) + "\n").encode()

    return stream_rows(fields, batches, maxrec, head=head, encode=_encode)


def _encode(batch: pa.RecordBatch) -> bytes:
    sink = pa.BufferOutputStream()
    pyarrow.csv.write_csv(batch, sink, _OPTIONS)
    return bytes(sink.getvalue())


def _quoted(name: str) -> str:
    if any(character in name for character in ',"\r\n'):
        return '"' + name.replace('"', '""') + '"'
    return name

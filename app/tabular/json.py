"""JSON: ``{"metadata": [column…], "data": [[value…]…], "query_status": "OK" | "OVERFLOW"}``.

JSON has no NaN and no infinities: they are null, as NULL is. Arrays of numbers (points, polygons
and circles of DALI) are JSON arrays. An answer that broke off is no JSON document: its end is
missing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import pyarrow as pa

from app.cells.codes import JSON
from app.cells.text import Marks, TextRows
from app.schema.fields import Field
from app.tabular.stream import stream_rows

_MARKS: Final = Marks(
    style=JSON,
    before="\n[",
    cells=",",
    rows="],\n[",
    after="]",
    null="null",
    not_a_number="null",
    infinity="null",
    minus_infinity="null",
)


def write(
    fields: Sequence[Field], batches: Iterable[pa.RecordBatch], maxrec: int
) -> Iterator[bytes]:
    """The document in pieces."""
    rows = TextRows(fields, _MARKS)
    separator = b""

    def head() -> bytes:
        columns = json.dumps([_column(field) for field in fields])
        return f'{{"metadata": {columns},\n"data": ['.encode()

    def encode(batch: pa.RecordBatch) -> bytes:
        nonlocal separator
        text = separator + rows.encode(batch)
        separator = b","
        return text

    def tail(overflow: bool) -> bytes:
        status = "OVERFLOW" if overflow else "OK"
        return f'\n],\n"query_status": "{status}"}}\n'.encode()

    return stream_rows(batches, maxrec, head=head, encode=encode, tail=tail)


def _column(field: Field) -> dict[str, str | None]:
    return {
        "name": field.name,
        "datatype": field.datatype,
        "arraysize": field.arraysize,
        "xtype": field.xtype,
        "unit": field.unit,
        "ucd": field.ucd,
        "utype": field.utype,
        "description": field.description or None,
    }

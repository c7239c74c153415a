"""JSON: ``{"metadata": [column…], "data": [[value…]…], "query_status": "OK" | "OVERFLOW"}``.

JSON has no NaN and no infinities: they are null, as NULL is.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from app.schema.fields import Field
from app.tabular.stream import stream_rows
from app.tabular.text import join_cells, join_rows

_SPECIAL: Final = '[\x00-\x1f"\\\\]'
_CONTROLS: Final = tuple(chr(code) for code in range(0x20))


def write(
    fields: Sequence[Field], batches: Iterable[pa.RecordBatch], maxrec: int
) -> Iterator[bytes]:
    """The document in pieces."""
    separator = b""

    def head() -> bytes:
        columns = json.dumps([_column(field) for field in fields])
        return f'{{"metadata": {columns},\n"data": ['.encode()

    def encode(batch: pa.RecordBatch) -> bytes:
        nonlocal separator
        cells = join_cells([_cells(column) for column in batch.columns], between=",", null="null")
        text = separator + b"\n[" + join_rows(cells, "],\n[") + b"]"
        separator = b","
        return text

    def tail(overflow: bool) -> bytes:
        status = "OVERFLOW" if overflow else "OK"
        return f'\n],\n"query_status": "{status}"}}\n'.encode()

    return stream_rows(fields, batches, maxrec, head=head, encode=encode, tail=tail)


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


def _cells(column: pa.Array) -> pa.Array:
    if pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_finite(column), column, pa.scalar(None, column.type))
    text = pc.cast(column, pa.large_string())
    return _quoted(text) if pa.types.is_string(column.type) else text


def _quoted(text: pa.Array) -> pa.Array:
    if pc.any(pc.match_substring_regex(text, _SPECIAL)).as_py():
        text = pc.replace_substring(text, "\\", "\\\\")
        text = pc.replace_substring(text, '"', '\\"')
        for control in _CONTROLS:
            text = pc.replace_substring(text, control, json.dumps(control)[1:-1])
    quote = pa.scalar('"', pa.large_string())
    return pc.binary_join_element_wise(quote, text, quote, pa.scalar("", pa.large_string()))

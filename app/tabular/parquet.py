"""Apache Parquet in row groups of bounded size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet

from app.cells.columns import as_lists, as_travelled, holds_numbers
from app.schema.batches import RowLimit, cast_integers
from app.schema.fields import Field

GROUP_BYTES: Final = 4 * 2**20
"""A row group is written when so many bytes of rows have come, or GROUP_ROWS rows, or as many
bytes as in all groups before: the first ones are small and on their way at once."""
GROUP_ROWS: Final = 2**17

# Columns whose values hardly repeat give up their dictionary early: a fifth faster, and smaller.
_OPTIONS: Final = {"compression": "snappy", "dictionary_pagesize_limit": 2**16}
_NO_METADATA: Mapping[str, str] = {}
_NUMBERS: Final = {
    "boolean": pa.bool_(),
    "short": pa.int16(),
    "int": pa.int32(),
    "long": pa.int64(),
    "float": pa.float32(),
    "double": pa.float64(),
    "floatComplex": pa.float32(),
    "doubleComplex": pa.float64(),
}
"""Arrow types of the elements, of complex numbers those of their parts."""


class _Outbox:
    """A file object whose content is taken away piece by piece."""

    closed = False

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._written = 0

    def write(self, data: bytes) -> int:
        piece = bytes(data)
        self._pieces.append(piece)
        self._written += len(piece)
        return len(piece)

    def tell(self) -> int:
        return self._written

    def flush(self) -> None:
        """Nothing is buffered."""

    def close(self) -> None:
        self.closed = True

    def take(self) -> bytes:
        taken = b"".join(self._pieces)
        self._pieces.clear()
        return taken


def write(
    fields: Sequence[Field],
    batches: Iterable[pa.RecordBatch],
    maxrec: int,
    metadata: Mapping[str, str] = _NO_METADATA,
) -> Iterator[bytes]:
    """The file in pieces. ``metadata`` is kept in the footer, with ``query_status`` added.

    Units and UCDs are metadata of each column. Arrays of numbers are lists.
    """
    limit = RowLimit(batches, maxrec)
    source = iter(limit)
    outbox = _Outbox()
    try:
        first = next(source, None)
        schema = _schema(fields).with_metadata(dict(metadata))
        with pyarrow.parquet.ParquetWriter(outbox, schema, **_OPTIONS) as writer:
            yield outbox.take()
            for group in _groups(source if first is None else chain((first,), source)):
                rows = _as_declared(fields, group, schema)
                writer.write_table(rows, row_group_size=rows.num_rows)
                yield outbox.take()
            status = "OVERFLOW" if limit.overflow else "OK"
            writer.add_key_value_metadata({"query_status": status})
        yield outbox.take()
    finally:
        limit.close()
        pa.default_memory_pool().release_unused()  # else kept for the next table


def _groups(batches: Iterable[pa.RecordBatch]) -> Iterator[list[pa.RecordBatch]]:
    """Batches that come one after the other, until they are enough for a row group."""
    gathered: list[pa.RecordBatch] = []
    rows = n_bytes = enough = 0
    for batch in batches:
        gathered.append(batch)
        rows += batch.num_rows
        n_bytes += batch.nbytes
        if rows >= GROUP_ROWS or n_bytes >= enough:
            yield gathered
            enough = min(enough + n_bytes, GROUP_BYTES)
            gathered, rows, n_bytes = [], 0, 0
    if gathered:
        yield gathered


def declared_type(field: Field) -> pa.DataType:
    """The arrow type of the field's own datatype."""
    if holds_numbers(field):
        return pa.list_(_NUMBERS[field.datatype])
    return pa.string() if field.datatype not in _NUMBERS else _NUMBERS[field.datatype]


def _as_declared(
    fields: Sequence[Field], group: Sequence[pa.RecordBatch], schema: pa.Schema
) -> pa.Table:
    """The batches as one table with every column in its declared type."""
    columns = []
    for number, field in enumerate(fields):
        chunks = [_declared(field, batch.column(number)) for batch in group]
        columns.append(pa.chunked_array(chunks, declared_type(field)))
    return pa.Table.from_arrays(columns, schema=schema)


def _declared(field: Field, column: pa.Array) -> pa.Array:
    if holds_numbers(field):
        return pc.cast(as_lists(field, column), declared_type(field), safe=field.kind == "integer")
    travelled = as_travelled(field, column)
    if field.kind == "integer":
        return cast_integers(field, travelled, declared_type(field))
    return pc.cast(travelled, declared_type(field), safe=False)


def _schema(fields: Sequence[Field]) -> pa.Schema:
    return pa.schema([_column(field) for field in fields])


def _column(field: Field) -> pa.Field:
    about = {"unit": field.unit, "ucd": field.ucd, "description": field.description}
    metadata = {name: value for name, value in about.items() if value}
    return pa.field(field.name, declared_type(field), metadata=metadata)

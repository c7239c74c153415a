"""What the formats share: the flow of batches, and values in their declared types."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from app.schema.batches import RowLimit, cast_integers
from app.schema.fields import Field

_TYPES: Final = {
    "short": pa.int16(),
    "int": pa.int32(),
    "long": pa.int64(),
    "float": pa.float32(),
    "double": pa.float64(),
}


def declared_type(field: Field) -> pa.DataType:
    """The arrow type of the field's own datatype; text for everything that is not a number."""
    if field.kind == "boolean":
        return pa.bool_()
    return _TYPES[field.datatype] if field.kind in {"integer", "real"} else pa.string()


def as_declared(fields: Sequence[Field], batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch with every column in its declared type; integers that do not fit are refused."""
    columns = [
        _as_declared(field, column) for field, column in zip(fields, batch.columns, strict=True)
    ]
    return pa.RecordBatch.from_arrays(columns, names=[field.name for field in fields])


def _as_declared(field: Field, column: pa.Array) -> pa.Array:
    if field.kind == "integer":
        return cast_integers(field, column, declared_type(field))
    return pc.cast(column, declared_type(field), safe=False)


def stream_rows(
    fields: Sequence[Field],
    batches: Iterable[pa.RecordBatch],
    maxrec: int,
    *,
    head: Callable[[], bytes],
    encode: Callable[[pa.RecordBatch], bytes],
    tail: Callable[[bool], bytes] = lambda overflow: b"",
) -> Iterator[bytes]:
    """Head, encoded batches, tail (told whether rows were cut off).

    The head comes after the first batch was fetched, so an error before it leaves no byte.
    """
    limit = RowLimit(batches, maxrec)
    rows = iter(limit)
    try:
        batch = next(rows, None)
        yield head()
        while batch is not None:
            yield encode(as_declared(fields, batch))
            batch = next(rows, None)
        yield tail(limit.overflow)
    finally:
        limit.close()

"""Database rows -> arrow record batches with the types the fields declare."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa

from app.errors import UsageError
from app.schema.batches import arrow_schema, arrow_type
from app.schema.fields import Field, Kind


def to_batch(rows: Sequence[Sequence[Any]], fields: Sequence[Field]) -> pa.RecordBatch:
    """One batch from rows in the order of ``fields``; None becomes an arrow null."""
    columns = zip(*rows, strict=True) if rows else ((),) * len(fields)
    arrays = [_array(column, field) for column, field in zip(columns, fields, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=arrow_schema(fields))


def convert(value: Any, field: Field) -> Any:
    """One value, not None, in the type of its field, as :func:`to_batch` would give it."""
    return _array((value,), field)[0].as_py()


def _array(values: Sequence[Any], field: Field) -> pa.Array:
    """Typed column. What the engine gave in another type (SQLite has no booleans, PostgreSQL sums
    in Decimal) is converted value by value."""
    target = arrow_type(field)
    try:
        return pa.array(values, type=target)
    except (pa.ArrowInvalid, pa.ArrowTypeError, TypeError):
        change = _converter(field.kind)
    try:
        return pa.array([None if v is None else change(v) for v in values], type=target)
    except (pa.ArrowInvalid, ValueError, OverflowError):
        raise UsageError(
            f"The data made the query fail: a value of column {field.name} is no {field.kind}"
        ) from None


def _converter(kind: Kind) -> Callable[[Any], Any]:
    if kind == "integer":
        return int
    if kind == "real":
        return float
    if kind == "boolean":
        return bool
    return _text


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)

"""Columns of numpy, as astropy reads them, in the types in which rows travel."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pyarrow as pa

from app.schema.batches import arrow_type
from app.schema.fields import Datatype, Field, Kind
from app.services.publishing.source import FileError

_INTEGERS: Final[dict[str, Datatype]] = {
    "int8": "short",
    "uint8": "short",
    "int16": "short",
    "uint16": "int",
    "int32": "int",
    "uint32": "long",
    "int64": "long",
    "uint64": "long",
}


def kind_of(dtype: np.dtype[Any]) -> tuple[Kind, Datatype]:
    """The kind and VOTable type of scalars of a numpy type; all that is no number is text."""
    if dtype.kind == "b":
        return "boolean", "boolean"
    if dtype.kind in "iu":
        return "integer", _INTEGERS[dtype.name]
    if dtype.kind == "f":
        return "real", "double" if dtype.itemsize > 4 else "float"
    return "text", "char"


def to_arrow(field: Field, values: Any, mask: Any, *, path: str, first_row: int) -> pa.Array:
    """A column of ``field`` from a numpy array; where ``mask`` is true the value is null.

    Numbers that are not finite are null too, and so is empty text. An element that is itself an
    array becomes text, its values separated by blanks. Raises FileError, naming row and column,
    for what no database keeps.
    """
    values = np.asarray(values)
    nulls: Any = np.zeros(len(values), bool) if mask is None else np.array(mask, bool)
    if nulls.ndim > 1:
        nulls = nulls.reshape(len(values), -1).all(axis=1)
    if values.ndim > 1 and values.dtype.kind not in "SU":
        return _texts(field, [_joined(v) for v in values], nulls, path, first_row)
    if field.kind == "real":
        numbers = values.astype(np.float64)
        return pa.array(numbers, mask=nulls | ~np.isfinite(numbers))
    if field.kind == "integer":
        if values.dtype.kind == "u" and values.dtype.itemsize == 8:
            too_large = np.flatnonzero((values > np.iinfo(np.int64).max) & ~nulls)
            if too_large.size:
                where = f"row {first_row + int(too_large[0]) + 1}, column {field.name}"
                raise FileError(path, f"{where}: {values[too_large[0]]} exceeds 64-bit integers")
        filled = np.where(nulls, 0, values)
        return pa.array(filled.astype(np.int64), mask=nulls)
    if field.kind == "boolean":
        return pa.array(values.astype(bool), mask=nulls)
    return _texts(field, values.tolist(), nulls, path, first_row)


def _joined(value: Any) -> str | None:
    """An array as text; None when nothing in it is known."""
    if isinstance(value, np.ma.MaskedArray):
        if value.mask.all():
            return None
        value = value.filled(np.nan) if value.dtype.kind == "f" else value.data
    flat = np.ravel(np.asarray(value))
    if flat.size == 0 or (flat.dtype.kind == "f" and np.isnan(flat).all()):
        return None
    return " ".join(_plain(item) for item in flat.tolist())


def _plain(item: Any) -> str:
    if isinstance(item, bytes):
        return item.decode("utf-8", "replace")
    return repr(item) if isinstance(item, float) else str(item)


def _texts(
    field: Field, values: list[Any], nulls: np.ndarray[Any, Any], path: str, first_row: int
) -> pa.Array:
    """Text of anything, trimmed at its end as fixed-length columns need."""
    texts: list[str | None] = []
    for number, (value, is_null) in enumerate(zip(values, nulls, strict=True)):
        try:
            text = None if is_null or value is None else _text(value)
        except UnicodeDecodeError:
            text = "\0"
        if text is not None and "\0" in text:
            where = f"row {first_row + number + 1}, column {field.name}"
            raise FileError(path, f"{where}: this is not UTF-8 text")
        texts.append(text or None)
    return pa.array(texts, arrow_type(field))


def _text(value: Any) -> str | None:
    if isinstance(value, str):
        return value.rstrip("\0 ")
    if isinstance(value, bytes):
        return value.rstrip(b"\0 ").decode()
    if isinstance(value, np.ndarray | list | tuple):
        return _joined(np.ma.asanyarray(value))
    return str(value)

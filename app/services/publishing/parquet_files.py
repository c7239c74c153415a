"""Parquet tables, with the metadata of VOParquet where they have it."""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from app.schema.batches import arrow_schema, arrow_type, may_hold_nul
from app.schema.fields import Datatype, Field
from app.services.publishing.arrays import to_arrow
from app.services.publishing.descriptions import unit_text, words
from app.services.publishing.source import BATCH_ROWS, FileError, Source

_KEY: Final = b"IVOA.VOTable-Parquet.content"

_INTEGERS: Final[dict[Any, Datatype]] = {
    pa.int8(): "short",
    pa.uint8(): "short",
    pa.int16(): "short",
    pa.uint16(): "int",
    pa.int32(): "int",
    pa.uint32(): "long",
    pa.int64(): "long",
    pa.uint64(): "long",
}


def open_parquet(path: Path) -> Source:
    """A Parquet file. Units, UCDs and descriptions come from VOParquet's VOTable header, or from
    the fields' own metadata (``unit``, ``ucd``, ``description`` …)."""
    try:
        file = pq.ParquetFile(path)
    except (OSError, pa.ArrowException) as fault:
        raise FileError(path, str(fault).splitlines()[0]) from None
    schema = file.schema_arrow
    described, description = _voparquet(schema.metadata or {})
    fields = tuple(_field(each, described.get(each.name)) for each in schema)
    notes = [
        f"column {each.name}: its arrays became text" for each in schema if _is_nested(each.type)
    ]
    return Source(
        path=path,
        fields=fields,
        read=lambda: _batches(path, fields),
        rows=file.metadata.num_rows,
        description=description,
        notes=tuple(notes),
    )


def _voparquet(metadata: dict[bytes, bytes]) -> tuple[dict[str, Any], str]:
    """Column name -> FIELD, and the description of the table (VOParquet 1.0, section 2)."""
    content = metadata.get(_KEY)
    if content is None:
        return {}, ""
    from astropy.io import votable  # few files need it, and it takes half a second

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            table = next(iter(votable.parse(io.BytesIO(content), verify="ignore").iter_tables()))
    except Exception:  # a header that cannot be read describes nothing; the rows are still good
        return {}, ""
    return {field.name: field for field in table.fields}, words(table.description)


def _field(each: pa.Field, described: Any) -> Field:
    own = {k.decode().lower(): v.decode() for k, v in (each.metadata or {}).items()}
    field = _typed(each.name, each.type)
    xtype = own.get("xtype") or (described.xtype if described is not None else None)
    return replace(
        field,
        unit=unit_text(described.unit if described is not None else own.get("unit")),
        ucd=(described.ucd if described is not None else own.get("ucd")) or None,
        utype=(described.utype if described is not None else own.get("utype")) or None,
        description=words(
            described.description if described is not None else own.get("description")
        ),
        xtype=field.xtype or (xtype if field.kind == "text" else None),
    )


def _typed(name: str, kind: pa.DataType) -> Field:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_boolean(kind):
        return Field(name=name, kind="boolean", datatype="boolean")
    if kind in _INTEGERS:
        return Field(name=name, kind="integer", datatype=_INTEGERS[kind])
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        narrow = pa.types.is_float32(kind) or pa.types.is_float16(kind)
        return Field(name=name, kind="real", datatype="float" if narrow else "double")
    if pa.types.is_timestamp(kind):
        return Field(name=name, kind="timestamp", datatype="char", arraysize="*", xtype="timestamp")
    return Field(name=name, kind="text", datatype="char", arraysize="*")


def _is_nested(kind: pa.DataType) -> bool:
    return bool(pa.types.is_nested(kind))


def _batches(path: Path, fields: Sequence[Field]) -> Iterator[pa.RecordBatch]:
    done = 0
    with pq.ParquetFile(path, pre_buffer=False) as file:
        try:
            for batch in file.iter_batches(batch_size=BATCH_ROWS, use_threads=False):
                arrays = [
                    plain_array(field, column, path=path, first_row=done)
                    for field, column in zip(fields, batch.columns, strict=True)
                ]
                yield pa.RecordBatch.from_arrays(arrays, schema=arrow_schema(fields))
                done += batch.num_rows
        except (OSError, pa.ArrowException) as fault:
            reason = str(fault).splitlines()[0]
            raise FileError(path, f"rows from {done + 1}: {reason}") from None


def plain_array(field: Field, column: pa.Array, *, path: Path, first_row: int) -> pa.Array:
    """A column of arrow in the type of its field; numbers that are not finite are null."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if field.kind == "real":
        numbers = pc.cast(column, pa.float64())
        return pc.if_else(pc.is_finite(numbers), numbers, pa.scalar(None, pa.float64()))
    if field.kind in ("integer", "boolean"):
        try:
            return pc.cast(column, arrow_type(field))
        except pa.ArrowInvalid as fault:
            raise FileError(
                path, f"rows from {first_row + 1}, column {field.name}: {fault}"
            ) from None
    if field.kind == "timestamp":
        utc = column.cast(pa.timestamp("us"), safe=False)
        return _iso(utc)
    return _text_array(field, column, path, first_row)


def _text_array(field: Field, column: pa.Array, path: Path, first_row: int) -> pa.Array:
    if _is_nested(column.type):
        values = [None if v is None else _nested(v) for v in column.to_pylist()]
        return _checked(field, pa.array(values, pa.string()), path, first_row)
    if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
        return to_arrow(field, _objects(column), None, path=str(path), first_row=first_row)
    return _checked(field, pc.cast(column, pa.string()), path, first_row)


def _iso(instants: pa.Array) -> pa.Array:
    """ISO 8601 text, with a fraction only where there is one."""
    text = pc.strftime(instants, "%Y-%m-%dT%H:%M:%S")
    return pc.replace_substring_regex(text, r"\.0+$", "")


def _nested(value: Any) -> str:
    if isinstance(value, list) and all(isinstance(v, int | float) for v in value):
        return " ".join(repr(v) for v in value)
    return json.dumps(value, default=str)


def _objects(column: pa.Array) -> Any:
    return np.array([*column.to_pylist(), None], dtype=object)[:-1]


def _checked(field: Field, column: pa.Array, path: Path, first_row: int) -> pa.Array:
    """Text without NUL, which no database keeps."""
    if not may_hold_nul(column):
        return column
    found = pc.index(pc.fill_null(pc.match_substring(column, "\0"), False), True).as_py()
    if found >= 0:
        where = f"row {first_row + found + 1}, column {field.name}"
        raise FileError(path, f"{where}: the text holds a NUL character")
    return column

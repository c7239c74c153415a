"""VOTable, FITS and ECSV, read by astropy.

VOTable and ECSV are held in memory as a whole; a FITS table is read in pieces.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
from astropy.io import ascii as ascii_tables
from astropy.io import fits, votable

from app.schema.batches import arrow_schema
from app.schema.fields import Datatype, Field, Kind
from app.services.publishing.arrays import kind_of, to_arrow
from app.services.publishing.descriptions import unit_text, words
from app.services.publishing.source import BATCH_ROWS, FileError, Source
from app.stores.fits_files import each_unit
from app.votable.columns import SCALARS

_TYPES: Final = {name: kind for name, kind in SCALARS.items() if not name.endswith("Complex")}
_TEXTS: Final = ("char", "unicodeChar")
_POLYGON: Final = "polygon"


def open_votable(path: Path) -> Source:
    """The first TABLE of a VOTable, in any serialization."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tables = list(votable.parse(path, verify="ignore").iter_tables())
    except Exception as fault:  # whatever astropy finds wrong with the file
        raise FileError(path, _first_line(fault)) from None
    if not tables:
        raise FileError(path, "there is no TABLE in this VOTable")
    table = tables[0]
    notes = [f"{len(tables) - 1} more tables in the file were left out"] if tables[1:] else []
    fields = tuple(_votable_field(each, notes) for each in table.fields)
    names = table.array.dtype.names or ()
    columns = [table.array[name] for name in names]
    return Source(
        path=path,
        fields=fields,
        read=lambda: _in_memory(path, fields, columns, len(table.array)),
        rows=len(table.array),
        description=words(table.description),
        notes=tuple(notes),
    )


def _votable_field(field: Any, notes: list[str]) -> Field:
    described = Field(
        name=field.name or field.ID or "",
        kind="text",
        datatype="char",
        arraysize="*",
        unit=unit_text(field.unit),
        ucd=field.ucd or None,
        utype=field.utype or None,
        xtype=field.xtype or None,
        description=words(field.description),
    )
    is_array = field.arraysize not in (None, "", "1")
    if field.datatype in _TEXTS:
        is_instant = (field.xtype or "").lower() in ("timestamp", "adql:timestamp")
        return replace(
            described,
            datatype=field.datatype,
            kind="timestamp" if is_instant else "text",
            xtype="timestamp" if is_instant else described.xtype,
        )
    if is_array or field.datatype not in _TYPES:
        if field.xtype != _POLYGON:
            notes.append(f"column {described.name}: its arrays became text")
        return replace(described, xtype=field.xtype if field.xtype == _POLYGON else None)
    kind, datatype = _TYPES[field.datatype]
    return replace(described, kind=kind, datatype=datatype, arraysize=None, xtype=None)


def _in_memory(
    path: Path, fields: Sequence[Field], columns: Sequence[Any], rows: int
) -> Iterator[pa.RecordBatch]:
    for start in range(0, rows, BATCH_ROWS):
        parts = [np.ma.asanyarray(column[start : start + BATCH_ROWS]) for column in columns]
        arrays = [
            to_arrow(field, part.data, _mask(part), path=str(path), first_row=start)
            for field, part in zip(fields, parts, strict=True)
        ]
        yield pa.RecordBatch.from_arrays(arrays, schema=arrow_schema(fields))


def _mask(part: Any) -> Any:
    return None if part.mask is np.ma.nomask else part.mask


def open_ecsv(path: Path) -> Source:
    """An Enhanced CSV table with its metadata."""
    try:
        table = ascii_tables.read(path, format="ecsv")
    except Exception as fault:  # whatever astropy finds wrong with the file
        raise FileError(path, _first_line(fault)) from None
    fields = tuple(_astropy_field(table[name]) for name in table.colnames)
    columns = [_plain_column(table[name]) for name in table.colnames]
    return Source(
        path=path,
        fields=fields,
        read=lambda: _in_memory(path, fields, columns, len(table)),
        rows=len(table),
        description=words(table.meta.get("description") or table.meta.get("name")),
    )


def _plain_column(column: Any) -> Any:
    """Values as numpy has them; times as ISO text."""
    if hasattr(column, "isot"):
        return np.ma.asanyarray(column.isot)
    return np.ma.asanyarray(getattr(column, "value", column))


def _astropy_field(column: Any) -> Field:
    plain = _plain_column(column)
    kind, datatype = kind_of(plain.dtype) if plain.ndim == 1 else ("text", "char")
    info = column.info
    meta = info.meta or {}
    is_instant = hasattr(column, "isot")
    return Field(
        name=info.name,
        kind="timestamp" if is_instant else kind,
        datatype=datatype,
        arraysize="*" if kind == "text" else None,
        unit=unit_text(info.unit),
        description=words(info.description),
        ucd=meta.get("ucd"),
        utype=meta.get("utype"),
        xtype="timestamp" if is_instant else meta.get("xtype"),
    )


def open_fits(path: Path) -> Source:
    """The first table of a FITS file, binary or ASCII."""
    try:
        hdus = fits.open(path, memmap=True)
        index = next(
            (i for i, hdu in enumerate(each_unit(hdus)) if isinstance(hdu, _TABLE_HDUS)),
            None,
        )
        if index is None:
            raise FileError(path, "no HDU of this file is a table")
        hdu = hdus[index]
        rows, columns = int(hdu.header["NAXIS2"]), list(hdu.columns)
    except (OSError, fits.VerifyError, TypeError, KeyError, ValueError) as fault:
        raise FileError(path, _first_line(fault)) from None
    notes = [f"column {c.name}: its arrays became text" for c in columns if _is_array(c)]
    header = hdu.header
    fields = tuple(_fits_field(c, header, n) for n, c in enumerate(columns, start=1))
    return Source(
        path=path,
        fields=fields,
        read=lambda: _fits_batches(path, hdu, fields, columns, rows),
        rows=rows,
        description=words(header.get("TABNAME") or header.get("EXTNAME")),
        notes=tuple(notes),
    )


_TABLE_HDUS: Final = (fits.BinTableHDU, fits.TableHDU)


def _is_array(column: Any) -> bool:
    dtype = column.dtype
    return bool(dtype.subdtype and dtype.subdtype[1] != (1,)) or column.format.format in "PQ"


def _fits_field(column: Any, header: Any, number: int) -> Field:
    kind, datatype = _fits_kind(column)
    return Field(
        name=column.name,
        kind=kind,
        datatype=datatype,
        arraysize="*" if kind == "text" else None,
        unit=unit_text(column.unit),
        ucd=header.get(f"TUCD{number}"),
        utype=header.get(f"TUTYP{number}"),
        description=words(header.get(f"TCOMM{number}") or header.comments[f"TTYPE{number}"]),
    )


def _fits_kind(column: Any) -> tuple[Kind, Datatype]:
    """The kind of what astropy makes of a column: scaled numbers are real, offsets stay whole."""
    code = column.format.format if hasattr(column.format, "format") else column.format[0]
    if _is_array(column) or code in "XA":
        return "text", "char"
    if code == "L":
        return "boolean", "boolean"
    if code in "EDF":
        return "real", "float" if code == "E" else "double"
    if column.bscale not in ("", None, 1) or float(column.bzero or 0) % 1:
        return "real", "double"
    sizes: dict[str, Datatype] = {"B": "short", "I": "short", "J": "int", "K": "long"}
    offset = column.bzero not in ("", None, 0, -128)
    wider: dict[str, Datatype] = {"B": "int", "I": "int", "J": "long", "K": "long"}
    return "integer", (wider if offset else sizes)[code]


def _fits_batches(
    path: Path, hdu: Any, fields: Sequence[Field], columns: Sequence[Any], rows: int
) -> Iterator[pa.RecordBatch]:
    for start in range(0, rows, BATCH_ROWS):
        try:
            part = hdu.data[start : start + BATCH_ROWS]
            arrays = [
                _fits_column(field, column, part, path, start)
                for field, column in zip(fields, columns, strict=True)
            ]
        except (OSError, ValueError, TypeError) as fault:
            raise FileError(path, f"rows from {start + 1}: {_first_line(fault)}") from None
        yield pa.RecordBatch.from_arrays(arrays, schema=arrow_schema(fields))


def _fits_column(field: Field, column: Any, part: Any, path: Path, start: int) -> pa.Array:
    values = part[column.name]
    if column.format.format in "PQ":
        texts = np.array([np.asarray(v) for v in values] + [None], dtype=object)[:-1]
        return to_arrow(field, texts, None, path=str(path), first_row=start)
    mask = None
    if column.null is not None and column.null != "" and field.kind == "integer":
        mask = values == int(column.null) + int(column.bzero or 0)
    if values.dtype.kind in "SU":
        values = np.asarray(values)
    return to_arrow(field, values, mask, path=str(path), first_row=start)


def _first_line(fault: Exception) -> str:
    lines = str(fault).strip().splitlines()
    return lines[0] if lines else type(fault).__name__

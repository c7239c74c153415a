"""A FITS binary table (FITS 4.0, section 7.3) in the first extension.

The header must tell the number of rows and the width of text, so the answer is gathered before
the first byte leaves.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from astropy.io import fits
from numpy.typing import NDArray

from app.schema.batches import RowLimit
from app.schema.fields import Field
from app.tabular.stream import as_declared, declared_type

_BLOCK: Final = 2880
_NUMBERS: Final[dict[str, tuple[str, np.dtype[Any]]]] = {
    "short": ("I", np.dtype(">i2")),
    "int": ("J", np.dtype(">i4")),
    "long": ("K", np.dtype(">i8")),
    "float": ("E", np.dtype(">f4")),
    "double": ("D", np.dtype(">f8")),
}


def write(
    fields: Sequence[Field], batches: Iterable[pa.RecordBatch], maxrec: int
) -> Iterator[bytes]:
    """The file in pieces. NULL: TNULL for integers, NaN for reals, zero byte for booleans,
    empty for text. FITS text is ASCII: other characters are sent as ``?``."""
    limit = RowLimit(batches, maxrec)
    rows = [as_declared(fields, batch) for batch in limit]
    dtype = np.dtype([(f"c{n}", column) for n, column in enumerate(_dtypes(fields, rows))])
    header = _header(fields, dtype, limit)
    yield fits.PrimaryHDU().header.tostring().encode("ascii") + header.tostring().encode("ascii")
    for batch in rows:
        yield _records(fields, batch, dtype).tobytes()
    yield bytes(-limit.rows * dtype.itemsize % _BLOCK)


def _dtypes(fields: Sequence[Field], rows: Sequence[pa.RecordBatch]) -> Iterator[np.dtype[Any]]:
    for index, field in enumerate(fields):
        if field.kind == "boolean":
            yield np.dtype("u1")
        elif field.kind in {"integer", "real"}:
            yield _NUMBERS[field.datatype][1]
        else:
            widths = [pc.max(pc.utf8_length(batch.column(index))).as_py() for batch in rows]
            yield np.dtype(f"S{max([1, *(width or 0 for width in widths)])}")


def _header(fields: Sequence[Field], dtype: np.dtype[Any], limit: RowLimit) -> fits.Header:
    header = fits.Header()
    header["XTENSION"] = ("BINTABLE", "binary table extension")
    header["BITPIX"] = 8
    header["NAXIS"] = 2
    header["NAXIS1"] = (dtype.itemsize, "bytes per row")
    header["NAXIS2"] = (limit.rows, "rows")
    header["PCOUNT"] = 0
    header["GCOUNT"] = 1
    header["TFIELDS"] = (len(fields), "columns")
    header["EXTNAME"] = "RESULT"
    header["QSTATUS"] = ("OVERFLOW" if limit.overflow else "OK", "OVERFLOW: more rows exist")
    for number, (field, width) in enumerate(zip(fields, _widths(dtype), strict=True), start=1):
        _describe_column(header, number, field, width)
    return header


def _widths(dtype: np.dtype[Any]) -> list[int]:
    return [dtype[name].itemsize for name in dtype.names or ()]


def _describe_column(header: fits.Header, number: int, field: Field, width: int) -> None:
    header[f"TTYPE{number}"] = _ascii(field.name)
    header[f"TFORM{number}"] = _form(field, width)
    if field.kind == "integer":
        header[f"TNULL{number}"] = int(np.iinfo(_NUMBERS[field.datatype][1]).min)
    cards = (("TUNIT", field.unit), ("TUCD", field.ucd), ("TUTYP", field.utype))
    for keyword, value in (*cards, ("TCOMM", field.description)):
        if value:
            header[f"{keyword}{number}"] = _ascii(value)


def _form(field: Field, width: int) -> str:
    if field.kind == "boolean":
        return "L"
    if field.kind in {"integer", "real"}:
        return _NUMBERS[field.datatype][0]
    return f"{width}A"


def _ascii(text: str) -> str:
    plain = text.encode("ascii", "replace").decode()
    return "".join(character if character.isprintable() else " " for character in plain)


def _records(fields: Sequence[Field], batch: pa.RecordBatch, dtype: np.dtype[Any]) -> NDArray[Any]:
    records = np.zeros(batch.num_rows, dtype)
    for name, field, column in zip(dtype.names or (), fields, batch.columns, strict=True):
        records[name] = _values(field, column, dtype[name])
    return records


def _values(field: Field, column: pa.Array, dtype: np.dtype[Any]) -> NDArray[Any]:
    if field.kind == "boolean":
        letters = pc.if_else(
            column, pa.scalar(ord("T"), pa.uint8()), pa.scalar(ord("F"), pa.uint8())
        )
        return _plain(pc.fill_null(letters, 0))
    if field.kind == "integer":
        null = pa.scalar(int(np.iinfo(dtype).min), declared_type(field))
        return _plain(pc.fill_null(column, null)).astype(dtype)
    if field.kind == "real":
        return _plain(pc.fill_null(column, float("nan"))).astype(dtype)
    text = pc.replace_substring_regex(pc.fill_null(column, ""), "[^\x00-\x7f]", "?")
    return _plain(pc.cast(text, pa.binary())).astype(dtype)


def _plain(column: pa.Array) -> NDArray[Any]:
    values: NDArray[Any] = column.to_numpy(zero_copy_only=False)
    return values

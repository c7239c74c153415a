"""BINARY and BINARY2 (VOTable 1.4, sections 5.3 and 5.4) taken apart, column by column."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from app.errors import LimitError, UploadError

Cell = str | int | float | bool | None
"""One value: text for TABLEDATA, strings and arrays."""

_TYPES: Final[dict[str, np.dtype[Any]]] = {
    "boolean": np.dtype("S1"),
    "bit": np.dtype("u1"),
    "unsignedByte": np.dtype("u1"),
    "short": np.dtype(">i2"),
    "int": np.dtype(">i4"),
    "long": np.dtype(">i8"),
    "float": np.dtype(">f4"),
    "double": np.dtype(">f8"),
    "floatComplex": np.dtype(">c8"),
    "doubleComplex": np.dtype(">c16"),
    "char": np.dtype("u1"),
    "unicodeChar": np.dtype(">u2"),
}
_PARTS: Final = {"floatComplex": "float", "doubleComplex": "double"}
_UNKNOWN: Final = {0: "?", ord(" "): "?"}
"""What may stand for a boolean that is not known (VOTable 1.4, section 6)."""
_COUNT: Final = struct.Struct(">I")


@dataclass(frozen=True, slots=True)
class _Part:
    """Where the cells of one column lie: the first byte and the number of bytes of each."""

    starts: NDArray[np.int64]
    sizes: NDArray[np.int64]


def unpack(
    stream: bytes,
    types: Sequence[tuple[str, int | None]],
    *,
    null_flags: bool,
    name: str,
    max_rows: int,
) -> list[list[Cell]]:
    """The cells of each column, None where BINARY2 says NULL. ``types``: the datatype of each and
    its number of elements, None if every cell tells its own.

    Raises UploadError if the stream ends within a row, LimitError for too many rows.
    """
    flag_bytes = (len(types) + 7) // 8 if null_flags else 0
    widths = [None if n is None else _bytes_of(t, n) for t, n in types]
    if None in widths:
        rows, parts = _scan(stream, types, flag_bytes, name, max_rows)
    else:
        rows, parts = _regular(stream, [w or 0 for w in widths], flag_bytes, name, max_rows)
    data = np.frombuffer(stream, np.uint8)
    columns: list[list[Cell]] = []
    for number, ((datatype, count), part) in enumerate(zip(types, parts, strict=True)):
        values = _values(stream, data, datatype, count, part, empty_is_null=not null_flags)
        if null_flags and len(rows):
            is_null = (data[rows + number // 8] >> (7 - number % 8)) & 1
            values = [None if n else v for n, v in zip(is_null.tolist(), values, strict=True)]
        columns.append(values)
    return columns


def _bytes_of(datatype: str, count: int) -> int:
    """Bits are packed, others are not."""
    return (count + 7) // 8 if datatype == "bit" else count * _TYPES[datatype].itemsize


def _regular(
    stream: bytes, widths: Sequence[int], flag_bytes: int, name: str, max_rows: int
) -> tuple[NDArray[np.int64], list[_Part]]:
    """Rows of one length."""
    length = flag_bytes + sum(widths)
    count, left = divmod(len(stream), length)
    if left:
        raise UploadError(name, f"its data end in the middle of row {count + 1}")
    if count > max_rows:
        raise LimitError("rows in an uploaded table", count, max_rows)
    rows = np.arange(count, dtype=np.int64) * length
    parts, place = [], flag_bytes
    for width in widths:
        parts.append(_Part(rows + place, np.full(count, width, np.int64)))
        place += width
    return rows, parts


def _scan(
    stream: bytes,
    types: Sequence[tuple[str, int | None]],
    flag_bytes: int,
    name: str,
    max_rows: int,
) -> tuple[NDArray[np.int64], list[_Part]]:
    """Rows that say their lengths."""
    plan = [(t, None if n is None else _bytes_of(t, n)) for t, n in types]
    rows: list[int] = []
    starts: list[int] = []
    sizes: list[int] = []
    place, end = 0, len(stream)
    while place < end:
        if len(rows) >= max_rows:
            raise LimitError("rows in an uploaded table", "more", max_rows)
        rows.append(place)
        place += flag_bytes
        for datatype, width in plan:
            size = width
            if size is None:
                if place + 4 > end:
                    break
                size = _bytes_of(datatype, _COUNT.unpack_from(stream, place)[0])
                place += 4
            starts.append(place)
            sizes.append(size)
            place += size
        if place > end or len(starts) != len(rows) * len(plan):
            raise UploadError(name, f"its data end in the middle of row {len(rows)}")
    table = np.array([starts, sizes], np.int64).reshape(2, len(rows), len(plan))
    parts = [_Part(table[0, :, n], table[1, :, n]) for n in range(len(plan))]
    return np.array(rows, np.int64), parts


def _values(
    stream: bytes,
    data: NDArray[np.uint8],
    datatype: str,
    count: int | None,
    part: _Part,
    *,
    empty_is_null: bool,
) -> list[Cell]:
    if datatype in ("char", "unicodeChar"):
        return _strings(stream, datatype, part, empty_is_null=empty_is_null)
    if count == 1 and datatype not in _PARTS:
        return _scalars(data, datatype, part)
    if datatype in ("boolean", "bit"):
        return _truths(stream, datatype, count, part)
    number = _PARTS.get(datatype, datatype)
    dtype = _TYPES[number]
    ends = (part.starts + part.sizes).tolist()
    return [
        " ".join(map(str, np.frombuffer(stream[start:end], dtype).tolist()))
        if number != "float"
        else " ".join(map(str, np.frombuffer(stream[start:end], dtype)))
        for start, end in zip(part.starts.tolist(), ends, strict=True)
    ]


def _scalars(data: NDArray[np.uint8], datatype: str, part: _Part) -> list[Cell]:
    dtype = _TYPES[datatype]
    if not len(part.starts):
        return []
    cells = data[part.starts[:, None] + np.arange(dtype.itemsize)]
    values = np.ascontiguousarray(cells).view(dtype)[:, 0]
    if datatype == "boolean":
        return [value.decode("latin-1") for value in values.tolist()]
    if datatype == "bit":
        return [value != 0 for value in values.tolist()]  # 0x80; astropy writes 0x08
    return list(values.tolist())


def _truths(stream: bytes, datatype: str, count: int | None, part: _Part) -> list[Cell]:
    """Arrays of booleans and of bits as letters and digits with blanks between them."""
    cells: list[Cell] = []
    for start, size in zip(part.starts.tolist(), part.sizes.tolist(), strict=True):
        cell = stream[start : start + size]
        if datatype == "bit":
            # An array of no fixed length says so itself, in the bytes before it.
            bits = _COUNT.unpack_from(stream, start - _COUNT.size)[0] if count is None else count
            found = np.unpackbits(np.frombuffer(cell, np.uint8), count=bits)
            cells.append(" ".join(map(str, found.tolist())))
        else:
            letters = cell.decode("latin-1").translate(_UNKNOWN)
            cells.append(" ".join(letters))
    return cells


def _strings(stream: bytes, datatype: str, part: _Part, *, empty_is_null: bool) -> list[Cell]:
    ends = (part.starts + part.sizes).tolist()
    texts: list[Cell] = []
    for start, end in zip(part.starts.tolist(), ends, strict=True):
        text = _decoded(stream[start:end], datatype).partition("\0")[0]
        texts.append(None if empty_is_null and not text else text)
    return texts


def _decoded(cell: bytes, datatype: str) -> str:
    """``char`` is ASCII; UTF-8 and Latin 1 are met in the wild."""
    if datatype == "unicodeChar":
        return cell.decode("utf-16-be", errors="replace")
    try:
        return cell.decode()
    except UnicodeDecodeError:
        return cell.decode("latin-1")

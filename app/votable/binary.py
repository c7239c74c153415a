"""BINARY and BINARY2 (VOTable 1.4, sections 5.3 and 5.4), a whole batch at a time.

A row is its columns one after the other, big-endian; an array of variable length is led by a
4-byte count. BINARY2 puts a bit per column before each row, set where the value is NULL. Both are
one base64 text.
"""

from __future__ import annotations

import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from app.schema.batches import cast_integers
from app.schema.fields import Field

Bytes = NDArray[np.uint8]

_NUMBERS: Final[dict[str, np.dtype[Any]]] = {
    "short": np.dtype(">i2"),
    "int": np.dtype(">i4"),
    "long": np.dtype(">i8"),
    "float": np.dtype(">f4"),
    "double": np.dtype(">f8"),
}
_NULL_INTEGERS: Final = {
    name: int(np.iinfo(_NUMBERS[name]).min) for name in ("short", "int", "long")
}
_COUNT: Final = np.dtype(">u4")


@dataclass(frozen=True, slots=True)
class _Fixed:
    """Bytes of the same width in every row, shape (n_rows, width)."""

    data: Bytes


@dataclass(frozen=True, slots=True)
class _Variable:
    """Bytes of ``lengths`` (n_rows,) per row, one row after the other in ``data``."""

    lengths: NDArray[np.int64]
    data: Bytes


class Binary:
    """Encodes batches as base64 text. ``null_flags``: BINARY2, else BINARY.

    ``char`` is ASCII in these serializations and clients fail on anything else, so a text column
    with other characters in ``sample``, the first batch, is declared and sent as ``unicodeChar``;
    if such a character comes later it is sent as ``?`` and the column is in ``replaced``.
    """

    def __init__(
        self, fields: Sequence[Field], sample: pa.RecordBatch | None, *, null_flags: bool
    ) -> None:
        self._null_flags = null_flags
        tag = "BINARY2" if null_flags else "BINARY"
        self.opening = f'<{tag}>\n<STREAM encoding="base64">\n'
        self.closing = f"</STREAM>\n</{tag}>\n"
        self.replaced: set[str] = set()
        self._wide = _wide_columns(fields, sample)
        self._fields = tuple(fields)
        self._held = b""

    def null_of(self, field: Field) -> str | None:
        """The value that stands for NULL: BINARY has no other way for integers."""
        if self._null_flags or field.kind != "integer":
            return None
        return str(_NULL_INTEGERS[field.datatype])

    def datatype_of(self, field: Field) -> str:
        """The datatype as sent."""
        return "unicodeChar" if field.name in self._wide else field.datatype

    def encode(self, batch: pa.RecordBatch) -> bytes:
        """The base64 text of the rows; up to two bytes are held back for the next call."""
        data = self._held + self.rows(batch)
        whole = len(data) - len(data) % 3
        self._held = data[whole:]
        return binascii.b2a_base64(data[:whole])

    def finish(self) -> bytes:
        """The base64 text of what was held back."""
        return binascii.b2a_base64(self._held) if self._held else b""

    def rows(self, batch: pa.RecordBatch) -> bytes:
        """The raw bytes of the rows."""
        parts: list[_Fixed | _Variable] = []
        if self._null_flags:
            parts.append(_Fixed(_flags(batch)))
        for field, column in zip(self._fields, batch.columns, strict=True):
            parts.extend(self._parts(field, column))
        return _interleave(parts, batch.num_rows)

    def _parts(self, field: Field, column: pa.Array) -> list[_Fixed | _Variable]:
        datatype = self.datatype_of(field)
        if field.kind == "boolean":
            return [_Fixed(_booleans(column))]
        if field.kind in {"integer", "real"}:
            null = 0 if self._null_flags else _NULL_INTEGERS.get(datatype, 0)
            return [_Fixed(_numbers(field, column, null))]
        if datatype in _NUMBERS:
            return _number_arrays(column, datatype, field.arraysize)
        text = pc.fill_null(pc.cast(column, pa.large_string()), "")
        if datatype == "unicodeChar":
            return _characters(*_utf16(text), 2, field.arraysize)
        return _characters(*_strings(self._ascii(field, text)), 1, field.arraysize)

    def _ascii(self, field: Field, text: pa.Array) -> pa.Array:
        if pc.all(pc.string_is_ascii(text)).as_py() is not False:
            return text
        self.replaced.add(field.name)
        return pc.replace_substring_regex(text, "[^\x00-\x7f]", "?")


def _wide_columns(fields: Sequence[Field], sample: pa.RecordBatch | None) -> frozenset[str]:
    if sample is None:
        return frozenset()
    return frozenset(
        field.name
        for field, column in zip(fields, sample.columns, strict=True)
        if field.datatype == "char" and not pc.all(pc.string_is_ascii(column)).as_py()
        if column.null_count < len(column)
    )


def _flags(batch: pa.RecordBatch) -> Bytes:
    nulls = [column.is_null().to_numpy(zero_copy_only=False) for column in batch.columns]
    return np.packbits(np.stack(nulls, axis=1), axis=1)


def _booleans(column: pa.Array) -> Bytes:
    values = pc.fill_null(column, False).to_numpy(zero_copy_only=False)
    letters = np.where(values, np.uint8(ord("T")), np.uint8(ord("F")))
    letters[column.is_null().to_numpy(zero_copy_only=False)] = ord("?")
    return letters[:, None]


def _numbers(field: Field, column: pa.Array, null: int) -> Bytes:
    dtype = _NUMBERS[field.datatype]
    if field.kind == "real":
        values = pc.fill_null(column, float("nan")).to_numpy(zero_copy_only=False)
    else:
        native = pa.from_numpy_dtype(dtype.newbyteorder("="))
        checked = cast_integers(field, column, native)
        values = pc.fill_null(checked, pa.scalar(null, native)).to_numpy(zero_copy_only=False)
    return _as_bytes(values.astype(dtype))


def _as_bytes(values: NDArray[np.generic]) -> Bytes:
    contiguous = np.ascontiguousarray(values)
    return contiguous.view(np.uint8).reshape(len(contiguous), contiguous.dtype.itemsize)


def _strings(text: pa.Array) -> tuple[NDArray[np.int64], Bytes]:
    """Byte lengths per row and the bytes of a large_string array without nulls."""
    _, offset_buffer, data_buffer = text.buffers()
    offsets = np.frombuffer(offset_buffer, np.int64)[text.offset : text.offset + len(text) + 1]
    data = np.frombuffer(data_buffer or b"", np.uint8)[offsets[0] : offsets[-1]]
    return np.diff(offsets), data


def _utf16(text: pa.Array) -> tuple[NDArray[np.int64], Bytes]:
    lengths, data = _strings(text)
    wide = np.frombuffer(data.tobytes().decode().encode("utf-16-be"), np.uint8)
    # A UTF-16 unit begins at every byte that starts a character; four-byte characters take two.
    units = ((data & 0xC0) != 0x80).astype(np.int64) + (data >= 0xF0)
    running = np.concatenate(([0], np.cumsum(units)))
    ends = np.cumsum(lengths)
    return 2 * (running[ends] - running[ends - lengths]), wide


def _characters(
    lengths: NDArray[np.int64], data: Bytes, unit_bytes: int, arraysize: str | None
) -> list[_Fixed | _Variable]:
    if arraysize is None or not arraysize.endswith("*"):
        return [_Fixed(_padded(lengths, data, int(arraysize or 1) * unit_bytes))]
    counts = (lengths // unit_bytes).astype(_COUNT)
    return [_Fixed(_as_bytes(counts)), _Variable(lengths, data)]


def _padded(lengths: NDArray[np.int64], data: Bytes, width: int) -> Bytes:
    """Values cut or filled with zero bytes to ``width``."""
    cells = np.zeros((len(lengths), width), np.uint8)
    starts = np.cumsum(lengths) - lengths
    columns = np.arange(width)
    inside = columns < lengths[:, None]
    cells[inside] = data[(starts[:, None] + columns)[inside]]
    return cells


def _number_arrays(
    column: pa.Array, datatype: str, arraysize: str | None
) -> list[_Fixed | _Variable]:
    """Arrays that travel as numbers separated by blanks (DALI xtype text); NULL is empty."""
    dtype = _NUMBERS[datatype]
    trimmed = pc.utf8_trim_whitespace(pc.fill_null(column, ""))
    words = pc.split_pattern_regex(trimmed, r"\s+")
    empty = pc.equal(trimmed, "").to_numpy(zero_copy_only=False)
    counts = np.where(empty, 0, pc.list_value_length(words).to_numpy(zero_copy_only=False))
    flat = pc.list_flatten(words)
    numbers = pc.cast(flat.filter(pc.not_equal(flat, "")), pa.float64()).to_numpy()
    data = _as_bytes(numbers.astype(dtype)).reshape(-1)
    lengths = counts.astype(np.int64) * dtype.itemsize
    if arraysize is not None and arraysize.endswith("*"):
        return [_Fixed(_as_bytes(counts.astype(_COUNT))), _Variable(lengths, data)]
    return [_Fixed(_fixed_numbers(lengths, data, dtype, int(arraysize or 1)))]


def _fixed_numbers(
    lengths: NDArray[np.int64], data: Bytes, dtype: np.dtype[Any], size: int
) -> Bytes:
    cells = _padded(lengths, data, size * dtype.itemsize)
    if dtype.kind == "f":
        blank = np.full(size, np.nan, dtype).view(np.uint8)
        missing = np.arange(size * dtype.itemsize) >= lengths[:, None]
        cells = np.where(missing, blank, cells)
    return cells


def _interleave(parts: Sequence[_Fixed | _Variable], n_rows: int) -> bytes:
    """Row by row, the parts one after the other."""
    merged = _merge_fixed(parts)
    widths = np.zeros(n_rows, np.int64)
    for part in merged:
        widths += part.data.shape[1] if isinstance(part, _Fixed) else part.lengths
    ends = np.cumsum(widths)
    cursor = ends - widths
    out = np.empty(int(ends[-1]) if n_rows else 0, np.uint8)
    for part in merged:
        if isinstance(part, _Fixed):
            width = part.data.shape[1]
            out[cursor[:, None] + np.arange(width)] = part.data
            cursor += width
        else:
            starts = np.cumsum(part.lengths) - part.lengths
            shift = np.repeat(cursor - starts, part.lengths)
            out[shift + np.arange(len(part.data))] = part.data
            cursor += part.lengths
    return out.tobytes()


def _merge_fixed(parts: Sequence[_Fixed | _Variable]) -> list[_Fixed | _Variable]:
    """Neighbours of fixed width become one part: one copy instead of many."""
    merged: list[_Fixed | _Variable] = []
    run: list[Bytes] = []
    for part in parts:
        if isinstance(part, _Fixed):
            run.append(part.data)
            continue
        if run:
            merged.append(_Fixed(np.hstack(run)))
            run = []
        merged.append(part)
    if run:
        merged.append(_Fixed(np.hstack(run)))
    return merged

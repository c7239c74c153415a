"""Rows as big-endian bytes: BINARY and BINARY2 (VOTable 1.4, sections 5.3 and 5.4) and FITS
(FITS 4.0, section 7.3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from app.cells.codes import (
    ANY,
    BEYOND_ASCII,
    CHAR,
    CODES,
    COLUMN_BYTES,
    LISTS,
    PLAIN,
    PRINTABLE,
    REPLACED,
    SPECIAL,
    XML,
)
from app.cells.columns import (
    LEAST,
    as_lists,
    as_travelled,
    describe,
    holds_numbers,
    parts_of,
    scan_text,
)
from app.cells.scratch import Scratch
from app.errors import UsageError
from app.schema.fields import Datatype, Field

WIDTHS: Final = {
    "boolean": 1,
    "short": 2,
    "int": 4,
    "long": 8,
    "float": 4,
    "double": 8,
    "floatComplex": 4,
    "doubleComplex": 8,
    "char": 1,
    "unicodeChar": 2,
}
"""Bytes of an element of each datatype, of complex numbers those of each part."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How the values of a field lie.

    ``size``: how many numbers or characters, None for any number, led by a 4-byte count of
    elements. ``null``: what stands for NULL, an integer or the code of a letter for booleans.
    ``printable``: control characters do not occur in texts (FITS).
    """

    field: Field
    datatype: Datatype
    size: int | None = 1
    null: int = 0
    printable: bool = False


class BinaryRows:
    """Writes batches as rows of bytes. Text outside ASCII in a ``char`` field is sent as ``?``;
    ``replaced`` has the names of the fields in which that happened, and ``mistaken`` those of
    integers that are the number which stands for NULL."""

    def __init__(self, layouts: Sequence[Layout], *, null_flags: bool) -> None:
        self._layouts = tuple(layouts)
        self._scratch = Scratch()
        self._flag_bytes = (len(self._layouts) + 7) // 8 if null_flags else 0
        self.replaced: set[str] = set()
        self.mistaken: set[str] = set()

    def encode(
        self, batch: pa.RecordBatch, *, before: bytes = b"", slack: int = 16
    ) -> tuple[NDArray[np.uint8], int]:
        """An array that begins with ``before`` and the rows, and how many bytes these are; at
        least ``slack`` bytes follow. It is good until the next call.

        Raises UsageError when an integer does not fit its type.
        """
        columns = np.zeros((len(self._layouts), COLUMN_BYTES // 8), np.int64)
        alive = []
        room = len(before) + self._flag_bytes * batch.num_rows + slack
        for layout, target, column in zip(self._layouts, columns, batch.columns, strict=True):
            kept, bytes_needed = self._prepare(layout, target, column)
            alive.append(kept)
            room += bytes_needed
        out = self._scratch.lend(room)
        out[: len(before)] = np.frombuffer(before, np.uint8)
        start = out.ctypes.data
        from app.cells.kernels.binary import put_rows

        end = put_rows(
            start + len(before),
            batch.num_rows,
            len(self._layouts),
            columns.ctypes.data,
            self._flag_bytes,
        )
        if end < 0:
            name = self._layouts[-1 - end].field.name
            raise UsageError(f"A value of column {name} does not fit its type")
        for layout, noted in zip(self._layouts, columns[:, 7], strict=True):
            if noted and layout.datatype in LEAST:
                self.mistaken.add(layout.field.name)
        return out, end - start

    def _prepare(
        self, layout: Layout, target: NDArray[np.int64], column: pa.Array
    ) -> tuple[pa.Array, int]:
        """Describe a column in ``target``; the array to keep alive and the bytes it may take."""
        code = CODES[layout.datatype]
        size = ANY if layout.size is None else layout.size
        width = WIDTHS[layout.datatype]
        if holds_numbers(layout.field):
            lists = as_lists(layout.field, column)
            describe(target, LISTS + code, lists, (layout.null, size, parts_of(layout.datatype)))
            elements = len(lists.values) if layout.size is None else size * len(column)
            return lists, 4 * len(column) + width * elements
        travelled = as_travelled(layout.field, column)
        if code < CHAR:
            describe(target, code, travelled, (layout.null, 1, 0))
            return travelled, width * len(column)
        n_bytes = self._describe_text(layout, target, travelled, size)
        elements = n_bytes if layout.size is None else size * len(column)
        return travelled, 4 * len(column) + width * elements

    def _describe_text(
        self, layout: Layout, target: NDArray[np.int64], column: pa.Array, size: int
    ) -> int:
        way = PLAIN
        found, n_bytes = scan_text(column, XML)
        if layout.datatype == "char":
            if found & BEYOND_ASCII:
                way = REPLACED
                self.replaced.add(layout.field.name)
            if layout.printable and found & (SPECIAL | BEYOND_ASCII):
                way = PRINTABLE
        describe(target, CODES[layout.datatype], column, (layout.null, size, way))
        return n_bytes

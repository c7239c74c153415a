"""Rows as text, in the style of XML, CSV, TSV or JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from app.cells.codes import (
    BOOLEAN,
    CHAR,
    CODES,
    COLUMN_BYTES,
    JSON,
    LISTS,
    PLAIN,
    REPLACED,
    SPECIAL,
    XML,
)
from app.cells.columns import (
    LEAST,
    REALS,
    as_lists,
    as_travelled,
    describe,
    holds_numbers,
    scan_text,
    size_of,
)
from app.cells.scratch import Scratch
from app.errors import UsageError
from app.schema.fields import Field

_LONGEST_NUMBER: Final = 26
_MOST_GROWTH: Final = 6
"""Bytes that one byte of a text may become."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Marks:
    """What a style puts around and for values; each at most 32 bytes.

    ``before`` and ``after`` all rows of a batch, ``rows`` and ``cells`` between them, and what
    stands for NULL and for reals that are not finite.
    """

    style: int
    before: str = ""
    cells: str
    rows: str
    after: str
    null: str = ""
    not_a_number: str
    infinity: str
    minus_infinity: str

    def packed(self) -> NDArray[np.uint8]:
        """The texts one after the other, as :func:`put_rows` reads them."""
        texts = (
            self.before,
            self.cells,
            self.rows,
            self.after,
            self.null,
            self.not_a_number,
            self.infinity,
            self.minus_infinity,
        )
        parts = [len(each).to_bytes(8, "little") + each.encode().ljust(32, b"\0") for each in texts]
        return np.frombuffer(b"".join(parts), np.uint8)


_LEAST_POLYGON: Final = 6
"""Numbers in the smallest polygon (DALI 1.1, section 3.3.7)."""


class TextRows:
    """Writes batches of ``fields`` as text."""

    def __init__(self, fields: Sequence[Field], marks: Marks) -> None:
        self._fields = tuple(fields)
        self._style = marks.style
        self._scratch = Scratch()
        self._pieces = marks.packed()
        self._glue = len(marks.rows) + len(fields) * len(marks.cells)
        self._ends = len(marks.before) + len(marks.after) + 64

    def encode(self, batch: pa.RecordBatch) -> bytes:
        """The rows of a batch that is not empty.

        Raises UsageError when an integer does not fit the type of its field.
        """
        columns = np.zeros((len(self._fields), COLUMN_BYTES // 8), np.int64)
        alive = []
        room = self._glue * batch.num_rows + self._ends
        for field, target, column in zip(self._fields, columns, batch.columns, strict=True):
            kept, bytes_needed = self._prepare(field, target, column)
            alive.append(kept)
            room += bytes_needed
        out = self._scratch.lend(room)
        start = out.ctypes.data
        from app.cells.kernels.text import put_rows

        end = put_rows(
            start,
            batch.num_rows,
            len(self._fields),
            columns.ctypes.data,
            self._style,
            self._pieces.ctypes.data,
        )
        if end < 0:
            name = self._fields[-1 - end].name
            raise UsageError(f"A value of column {name} does not fit its type")
        return out[: end - start].tobytes()

    def _prepare(
        self, field: Field, target: NDArray[np.int64], column: pa.Array
    ) -> tuple[pa.Array, int]:
        """Describe a column in ``target``; the array to keep alive and the bytes it may take."""
        n_rows = len(column)
        if self._style == XML and holds_numbers(field):
            column = pc.fill_null(as_travelled(field, column), _no_numbers(field))
        if column.null_count == n_rows:
            return column, 8 * n_rows
        column = as_travelled(field, column)
        if field.kind == "boolean":
            describe(target, BOOLEAN, column)
            return column, 8 * n_rows
        if field.kind == "integer":
            least = LEAST[field.datatype]
            describe(target, CODES[field.datatype], column, (least, -1 - least, 0))
            return column, 20 * n_rows
        if field.kind == "real":
            describe(target, CODES[field.datatype], column)
            return column, _LONGEST_NUMBER * n_rows
        if self._style == JSON and holds_numbers(field):
            return self._prepare_lists(field, target, column)
        found, size = scan_text(column, self._style)
        special = found & SPECIAL
        describe(target, CHAR, column, (REPLACED if special else PLAIN, 0, 0))
        return column, 8 * n_rows + size * (_MOST_GROWTH if special else 1)

    def _prepare_lists(
        self, field: Field, target: NDArray[np.int64], column: pa.Array
    ) -> tuple[pa.Array, int]:
        lists = as_lists(field, column)
        describe(target, LISTS + CODES[field.datatype], lists)
        return lists, 8 * len(column) + (_LONGEST_NUMBER + 1) * len(lists.values)


def _no_numbers(field: Field) -> str:
    """NULL in TABLEDATA: as many NaN as an array of reals must have, a polygon the six of a
    triangle (validators take none with fewer); else nothing."""
    if field.datatype not in REALS:
        return ""
    size = size_of(field)
    if size is None:
        size = _LEAST_POLYGON if field.xtype == "polygon" else 0
    return " ".join(["NaN"] * size)

"""Rows as text, in the style of XML, CSV, TSV or JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from app.cells.codes import (
    BOOLEAN,
    CHAR,
    CODES,
    EMPTY,
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
    as_travelled,
    as_words,
    describe,
    holds_numbers,
    size_of,
)
from app.cells.described import DescribedBatch, describe_batch
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
        self._forms = _forms(self._fields)
        lists = [number for number, field in enumerate(fields) if holds_numbers(field)]
        self._filled = lists if self._style == XML else []
        self._lists = lists if self._style == JSON else []

    def encode(self, batch: pa.RecordBatch) -> bytes:
        """The rows of a batch that is not empty.

        Raises UsageError when an integer does not fit the type of its field.
        """
        described = describe_batch(self._fields, self._with_filled(batch), self._style)
        columns, growth = self._columns(described)
        alive, list_bytes = self._describe_lists(columns, batch)
        row_bytes = self._glue + int(self._forms[:, 3].sum())
        text_bytes = int((described.n_bytes * growth).sum())
        out = self._scratch.lend(row_bytes * batch.num_rows + text_bytes + list_bytes + self._ends)
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
        del alive
        if end < 0:
            name = self._fields[-1 - end].name
            raise UsageError(f"A value of column {name} does not fit its type")
        return out[: end - start].tobytes()

    def _with_filled(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """With what stands for NULL in columns of arrays."""
        for number in self._filled:
            field = self._fields[number]
            column = pc.fill_null(as_travelled(field, batch.column(number)), _no_numbers(field))
            batch = batch.set_column(number, field.name, column)
        return batch

    def _columns(self, batch: DescribedBatch) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The columns as the writing loop takes them, and how many bytes each byte of a text in
        them may become."""
        columns = batch.columns.copy()
        special = batch.found & SPECIAL != 0
        columns[:, 0] = np.where(batch.nulls == batch.given.num_rows, EMPTY, self._forms[:, 0])
        is_text = self._forms[:, 0] == CHAR
        ways = np.where(special, REPLACED, PLAIN)
        columns[:, 5] = np.where(is_text, ways, self._forms[:, 1])
        columns[:, 6] = self._forms[:, 2]
        return columns, np.where(special, _MOST_GROWTH, 1)

    def _describe_lists(
        self, columns: NDArray[np.int64], batch: pa.RecordBatch
    ) -> tuple[list[pa.Array], int]:
        """Describe the columns of arrays; what to keep alive and the bytes they may take beyond
        those of a text."""
        alive, room = [], 0
        for number in self._lists:
            field = self._fields[number]
            lists = as_words(field, batch.column(number))
            describe(columns[number], LISTS + CODES[field.datatype], lists)
            alive.append(lists)
            room += (_LONGEST_NUMBER + 1) * len(lists.values)
        return alive, room


@lru_cache(maxsize=256)
def _forms(fields: tuple[Field, ...]) -> NDArray[np.int64]:
    """Of each field: code, least and greatest number, most bytes of a cell without its text."""
    return np.array([_form(field) for field in fields], np.int64)


def _form(field: Field) -> tuple[int, int, int, int]:
    if field.kind == "boolean":
        return BOOLEAN, 0, 0, 8
    if field.kind == "integer":
        least = LEAST[field.datatype]
        return CODES[field.datatype], least, -1 - least, 20
    if field.kind == "real":
        return CODES[field.datatype], 0, 0, _LONGEST_NUMBER
    return CHAR, 0, 0, 8


def _no_numbers(field: Field) -> str:
    """NULL in TABLEDATA: as many NaN as an array of reals must have, a polygon the six of a
    triangle (validators take none with fewer); else nothing."""
    if field.datatype not in REALS:
        return ""
    size = size_of(field)
    if size is None:
        size = _LEAST_POLYGON if field.xtype == "polygon" else 0
    return " ".join(["NaN"] * size)

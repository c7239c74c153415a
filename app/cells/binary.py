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
    LISTS,
    PLAIN,
    PRINTABLE,
    REPLACED,
    SPECIAL,
)
from app.cells.columns import LEAST, as_words, describe, holds_numbers, parts_of
from app.cells.described import DescribedBatch
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


class BinaryPlan:
    """How batches of columns with some layouts are written: what is the same for each batch."""

    def __init__(self, layouts: Sequence[Layout], *, null_flags: bool) -> None:
        self.layouts = tuple(layouts)
        self.fields = tuple(layout.field for layout in layouts)
        self.flag_bytes = (len(self.layouts) + 7) // 8 if null_flags else 0
        self.codes = np.array([CODES[each.datatype] for each in layouts], np.int64)
        self.nulls = np.array([each.null for each in layouts], np.int64)
        self.sizes = np.array([_size(each) for each in layouts], np.int64)
        self.lists = [n for n, field in enumerate(self.fields) if holds_numbers(field)]
        self.widths = np.array([WIDTHS[each.datatype] for each in layouts], np.int64)
        is_integer = [each.datatype in LEAST and not holds_numbers(each.field) for each in layouts]
        self.integers = np.array(is_integer, bool)
        is_char = [each.datatype == "char" for each in layouts]
        self.chars = np.array(is_char, bool)
        self.printable = np.array([each.printable for each in layouts], bool)
        fixed = np.where(self.sizes == ANY, 0, self.sizes) * self.widths
        led = np.where(self.codes >= CHAR, 4, 0)
        self.row_bytes = self.flag_bytes + int(fixed.sum() + led.sum())
        self.text_widths = np.where(self.sizes == ANY, self.widths, 0)
        """Bytes that each byte of a text may take."""


def _size(layout: Layout) -> int:
    return ANY if layout.size is None else layout.size


class BinaryRows:
    """Writes batches as rows of bytes. Text outside ASCII in a ``char`` field is sent as ``?``;
    ``replaced`` has the names of the fields in which that happened, and ``mistaken`` those of
    integers that are the number which stands for NULL."""

    def __init__(self, plan: BinaryPlan) -> None:
        self._plan = plan
        self._scratch = Scratch()
        self.replaced: set[str] = set()
        self.mistaken: set[str] = set()

    def encode(
        self, batch: DescribedBatch, *, before: bytes = b"", slack: int = 16
    ) -> tuple[NDArray[np.uint8], int]:
        """An array that begins with ``before`` and the rows, and how many bytes these are; at
        least ``slack`` bytes follow. It is good until the next call. The batch must be described
        for XML.

        Raises UsageError when an integer does not fit its type.
        """
        plan, n_rows = self._plan, batch.given.num_rows
        columns = batch.columns.copy()
        columns[:, 0], columns[:, 5], columns[:, 6] = plan.codes, plan.nulls, plan.sizes
        columns[:, 7] = self._ways(batch)
        alive, list_bytes = self._describe_lists(columns, batch)
        text_bytes = int((batch.n_bytes * plan.text_widths).sum())
        room = len(before) + plan.row_bytes * n_rows + text_bytes + list_bytes + slack
        out = self._scratch.lend(room)
        out[: len(before)] = np.frombuffer(before, np.uint8)
        start = out.ctypes.data
        from app.cells.kernels.binary import put_rows

        end = put_rows(
            start + len(before), n_rows, len(columns), columns.ctypes.data, plan.flag_bytes
        )
        del alive
        if end < 0:
            raise UsageError(
                f"A value of column {plan.fields[-1 - end].name} does not fit its type"
            )
        for number in np.flatnonzero(columns[:, 7] * plan.integers):
            self.mistaken.add(plan.fields[number].name)
        return out, end - start

    def _ways(self, batch: DescribedBatch) -> NDArray[np.int64]:
        """How the texts are written; PLAIN for what is none."""
        plan, found = self._plan, batch.found
        beyond = plan.chars & (found & BEYOND_ASCII != 0)
        for number in np.flatnonzero(beyond):
            self.replaced.add(plan.fields[number].name)
        printable = plan.chars & plan.printable & (found & (SPECIAL | BEYOND_ASCII) != 0)
        return np.where(printable, PRINTABLE, np.where(beyond, REPLACED, PLAIN))

    def _describe_lists(
        self, columns: NDArray[np.int64], batch: DescribedBatch
    ) -> tuple[list[pa.Array], int]:
        """Describe the columns of arrays; what to keep alive and the bytes they may take beyond
        those of a text."""
        plan = self._plan
        alive, room = [], 0
        for number in plan.lists:
            lists = as_words(plan.fields[number], batch.given.column(number))
            aux = (plan.nulls[number], plan.sizes[number], parts_of(plan.layouts[number].datatype))
            describe(columns[number], LISTS + plan.codes[number], lists, aux)
            alive.append(lists)
            room += int(plan.widths[number]) * len(lists.values) + 4 * len(lists)
        return alive, room

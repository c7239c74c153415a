"""Arrow columns as compiled code sees them: a kind and the addresses of its buffers.

A column is eight int64: kind, address of the validity bits (0: nothing is NULL), number of the
first bit, address of the first value, address of the first offset (texts and lists), and three
that each kernel gives its own meaning.
"""

from __future__ import annotations

import math
import re
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from app.cells.codes import UNKNOWN
from app.schema.fields import Field

LEAST: Final = {"short": -(2**15), "int": -(2**31), "long": -(2**63)}
"""The least number of each integer datatype."""

_SCALARS: Final = {"boolean": pa.bool_(), "integer": pa.int64(), "real": pa.float64()}
REALS: Final = frozenset({"float", "double", "floatComplex", "doubleComplex"})
"""Datatypes whose elements consist of reals."""
_PARTS: Final = {"floatComplex": 2, "doubleComplex": 2}
_WORDS: Final = {"t": True, "true": True, "1": True, "f": False, "false": False, "0": False}
_DIMENSIONS: Final = re.compile(r"(?:\d+x)*(?:\d+|\d*\*)\Z")


def parts_of(datatype: str) -> int:
    """How many numbers an element consists of: two of a complex one."""
    return _PARTS.get(datatype, 1)


def size_of(field: Field) -> int | None:
    """How many numbers a value has (VOTable 1.4, section 2.2); None: any number of them.

    Raises ValueError when the arraysize is none of VOTable's.
    """
    parts = parts_of(field.datatype)
    if field.arraysize is None:
        return parts
    if not _DIMENSIONS.match(field.arraysize):
        raise ValueError(f"arraysize {field.arraysize!r} of column {field.name}")
    if field.arraysize.endswith("*"):
        return None
    return math.prod((parts, *map(int, field.arraysize.split("x"))))


def holds_numbers(field: Field) -> bool:
    """True if values travel as text but are arrays of numbers or booleans for a client."""
    return field.kind not in _SCALARS and field.datatype not in ("char", "unicodeChar")


def as_travelled(field: Field, column: pa.Array) -> pa.Array:
    """The column in the type in which values of the field travel (:mod:`app.schema.batches`)."""
    wanted = _SCALARS.get(field.kind, pa.string())
    return column if column.type.equals(wanted) else pc.cast(column, wanted)


def integers_of(column: pa.Array) -> NDArray[np.int64]:
    """The numbers of an int64 column, with any number where it is NULL."""
    values = column.buffers()[1]
    if values is None:
        return np.zeros(0, np.int64)
    return np.frombuffer(values, np.int64, len(column), 8 * column.offset)


def as_lists(field: Field, column: pa.Array) -> pa.Array:
    """Arrays out of their text (elements with blanks between them, DALI 1.1 section 3.3)."""
    trimmed = pc.utf8_trim_whitespace(as_travelled(field, column))
    words = pc.split_pattern_regex(trimmed, r"\s+")
    # Numbers may have a sign that the reader of numbers does not know.
    flat = pc.replace_substring_regex(pc.list_flatten(words), r"^\+", "")
    empty = pc.equal(flat, "")
    if field.datatype == "boolean":
        elements = pa.array([_WORDS.get(word.lower()) for word in flat.to_pylist()], pa.bool_())
    else:
        elements = pc.cast(
            pc.if_else(empty, pa.scalar(None, pa.string()), flat),
            pa.float64() if field.datatype in REALS else pa.int64(),
        )
    lengths = pc.fill_null(pc.list_value_length(words), 0).to_numpy(zero_copy_only=False)
    blank = pc.fill_null(pc.equal(trimmed, ""), True).to_numpy(zero_copy_only=False)
    kept = elements.filter(pc.invert(empty))
    ends = np.cumsum(np.where(blank, 0, lengths), dtype=np.int32)
    offsets = pa.array(np.concatenate(([0], ends)).astype(np.int32))
    return pa.ListArray.from_arrays(offsets, kept, mask=column.is_null())


def as_words(field: Field, column: pa.Array) -> pa.Array:
    """Arrays as compiled code takes them: booleans are 1, 0 and :data:`UNKNOWN`."""
    lists = as_lists(field, column)
    if field.datatype != "boolean":
        return lists
    truths = pc.fill_null(pc.cast(lists.values, pa.int64()), UNKNOWN)
    return pa.ListArray.from_arrays(lists.offsets, truths, mask=lists.is_null())


def describe(
    target: NDArray[np.int64], kind: int, column: pa.Array, aux: tuple[int, int, int] = (0, 0, 0)
) -> None:
    """Fill the eight numbers of a column of int64, double, bool, string or list type.

    The column must stay alive while they are used.
    """
    buffers = column.buffers()
    start = column.offset
    validity = buffers[0].address if buffers[0] is not None and column.null_count else 0
    values = buffers[-1].address if buffers[-1] is not None else 0
    offsets = 0
    if pa.types.is_string(column.type):
        offsets = buffers[1].address + 4 * start if buffers[1] is not None else 0
    elif pa.types.is_list(column.type):
        offsets = buffers[1].address + 4 * start
        values += 8 * column.values.offset
    elif not pa.types.is_boolean(column.type):
        values += 8 * start
    target[:] = (kind, validity, start, values, offsets, *aux)

"""Tables of every type that a VOTable can hold, with NULLs and the odd values of each type."""

from __future__ import annotations

import math
import struct
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import strategies as st

from app.schema.batches import arrow_schema
from app.schema.fields import Datatype, Field

Rows = dict[str, list[Any]]


def _array(name: str, datatype: Datatype, arraysize: str) -> Field:
    return Field(name=name, kind="text", datatype=datatype, arraysize=arraysize)


FIELDS = (
    Field(name="s", kind="integer", datatype="short", unit="pix", ucd="pos.cartesian.x"),
    Field(name="i", kind="integer", datatype="int"),
    Field(name="l", kind="integer", datatype="long", description='"long" < & >'),
    Field(name="f", kind="real", datatype="float", unit="m"),
    Field(name="d", kind="real", datatype="double"),
    Field(name="b", kind="boolean", datatype="boolean"),
    Field(name="c", kind="text", datatype="char", arraysize="*"),
    Field(name="u", kind="text", datatype="unicodeChar", arraysize="*"),
    Field(name="c4", kind="text", datatype="char", arraysize="4"),
    Field(name="u3", kind="text", datatype="unicodeChar", arraysize="3"),
    Field(name="t", kind="timestamp", datatype="char", arraysize="*", xtype="timestamp"),
    Field(name="p", kind="point", datatype="double", arraysize="2", xtype="point"),
    Field(name="poly", kind="region", datatype="double", arraysize="*", xtype="polygon"),
    _array("sv", "short", "*"),
    _array("iv", "int", "3"),
    _array("lv", "long", "*"),
    _array("fv", "float", "2x2"),
    Field(name="z", kind="text", datatype="floatComplex"),
    _array("zv", "doubleComplex", "*"),
    _array("z2", "doubleComplex", "2"),
)
ARRAYS = ("p", "poly", "sv", "iv", "lv", "fv", "z", "zv", "z2")
SINGLE = ("fv", "z")
"""Arrays of floats."""

_ASCII = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=12)
_ANY = st.text(
    st.one_of(
        st.characters(codec="utf-8", exclude_characters="\x00"),
        st.sampled_from("&<>\"',]\t\r\n\\/\x01\x1f\x7f\x85\ufffe\uffff\ufeffż銀\U0001f52d"),
    ),
    max_size=12,
)
_FINITE = st.floats(allow_nan=False, allow_infinity=False)
_FINITE_32 = st.floats(allow_nan=False, allow_infinity=False, width=32)


def _integers(bits: int) -> st.SearchStrategy[int]:
    edge = 2 ** (bits - 1)
    return st.one_of(st.integers(-edge, edge - 1), st.sampled_from([-edge, edge - 1, 0, -1]))


def _words(element: st.SearchStrategy[Any], least: int, most: int) -> st.SearchStrategy[str]:
    return st.lists(element.map(repr), min_size=least, max_size=most).map(" ".join)


VALUES: dict[str, st.SearchStrategy[Any]] = {
    "s": _integers(16),
    "i": _integers(32),
    "l": _integers(64),
    "f": st.floats(width=32),
    "d": st.floats(),
    "b": st.booleans(),
    "c": _ASCII,
    "u": _ANY,
    "c4": st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=4, max_size=4),
    "u3": st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7FF, categories=["L"]),
                  min_size=3, max_size=3),
    "t": st.datetimes().map(lambda moment: moment.isoformat(timespec="milliseconds")),
    "p": _words(_FINITE, 2, 2),
    "poly": _words(_FINITE, 1, 8),
    "sv": _words(_integers(16), 1, 5),
    "iv": _words(_integers(32), 3, 3),
    "lv": _words(_integers(64), 1, 5),
    "fv": _words(_FINITE_32, 4, 4),
    "z": _words(_FINITE_32, 2, 2),
    "zv": st.integers(1, 3).flatmap(lambda count: _words(_FINITE, 2 * count, 2 * count)),
    "z2": _words(_FINITE, 4, 4),
}  # fmt: skip


@st.composite
def tables(draw: st.DrawFn, **replaced: st.SearchStrategy[Any]) -> Rows:
    """Up to five rows of FIELDS; ``replaced`` are other values for some of them."""
    n_rows = draw(st.integers(1, 5))
    strategies = VALUES | replaced
    return {
        field.name: draw(
            st.lists(st.none() | strategies[field.name], min_size=n_rows, max_size=n_rows)
        )
        for field in FIELDS
    }


def as_batches(rows: Rows, fields: tuple[Field, ...] = FIELDS) -> list[pa.RecordBatch]:
    """The rows as slices of a larger batch: the first row alone, then the others."""
    schema = arrow_schema(fields)
    arrays = [
        pa.array([None, *rows[field.name], None], each.type)
        for field, each in zip(fields, schema, strict=True)
    ]
    whole = pa.RecordBatch.from_arrays(arrays, schema=schema)
    n_rows = whole.num_rows - 2
    return [batch for batch in (whole.slice(1, 1), whole.slice(2, n_rows - 1)) if batch.num_rows]


def elements(values: Any) -> list[Any]:
    """The numbers of an array, of complex ones both parts."""
    flat = np.ravel(values)
    return list(flat.view(flat.real.dtype).tolist())


def numbers(text: str | None) -> list[float]:
    """The elements of an array value."""
    return [] if text is None else [float(word) for word in text.split()]


def same_real(found: object, wanted: float | None, *, single: bool = False) -> bool:
    """The same bits, but for NULL and NaN, which most formats do not tell apart."""
    if wanted is None or math.isnan(wanted):
        return found is None or found is np.ma.masked or math.isnan(float(found))  # type: ignore[arg-type]
    code = "<f" if single else "<d"
    return struct.pack(code, float(found)) == struct.pack(code, wanted)  # type: ignore[arg-type]

"""TABLEDATA: rows as text (VOTable 1.4, section 5.1), a whole batch at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from app.schema.fields import Field
from app.votable.markup import FORBIDDEN

_TEXT: Final = pa.large_string()
_SPECIAL: Final = FORBIDDEN[:-1] + "\r&<>]"
_REPLACEMENTS: Final = (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("\r", "&#13;"))


class TableData:
    """Encodes batches as TR elements; NULL is an empty TD."""

    opening = "<TABLEDATA>\n"
    closing = "</TABLEDATA>\n"

    def __init__(self, fields: Sequence[Field]) -> None:
        self._fields = tuple(fields)

    def null_of(self, field: Field) -> str | None:
        """No value needs to stand for NULL here."""
        return None

    def datatype_of(self, field: Field) -> str:
        """Text is UTF-8 here, whatever the datatype."""
        return field.datatype

    def encode(self, batch: pa.RecordBatch) -> bytes:
        """The rows of a batch that is not empty."""
        cells = [
            _cells(field, column) for field, column in zip(self._fields, batch.columns, strict=True)
        ]
        between = pa.scalar("</TD><TD>", _TEXT)
        rows = pc.binary_join_element_wise(
            *cells, between, null_handling="replace", null_replacement=""
        )
        whole = pa.LargeListArray.from_arrays(pa.array([0, len(rows)], pa.int64()), rows)
        text = pc.binary_join(whole, pa.scalar("</TD></TR>\n<TR><TD>", _TEXT))[0]
        return b"<TR><TD>" + bytes(text.as_buffer()) + b"</TD></TR>\n"

    def finish(self) -> bytes:
        """Nothing is held back."""
        return b""


def _cells(field: Field, column: pa.Array) -> pa.Array:
    if field.kind == "real":
        return _reals(field, column)
    if field.kind in {"integer", "boolean"}:
        return pc.cast(column, _TEXT)
    return _escaped(pc.cast(column, _TEXT))


def _reals(field: Field, column: pa.Array) -> pa.Array:
    values = pc.cast(column, pa.float32(), safe=False) if field.datatype == "float" else column
    text = pc.cast(values, _TEXT)
    finite = pc.is_finite(values)
    if pc.all(finite).as_py() is not False:
        return text
    sign = pc.if_else(pc.greater(values, 0), "+Inf", "-Inf")
    special = pc.cast(pc.if_else(pc.is_nan(values), "NaN", sign), _TEXT)
    return pc.if_else(finite, text, special)


def _escaped(text: pa.Array) -> pa.Array:
    if not pc.any(pc.match_substring_regex(text, _SPECIAL)).as_py():
        return text
    for plain, entity in _REPLACEMENTS:
        text = pc.replace_substring(text, plain, entity)
    return pc.replace_substring_regex(text, FORBIDDEN, "\ufffd")

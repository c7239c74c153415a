"""TABLEDATA: rows as text (VOTable 1.4, section 5.1), a whole batch at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import pyarrow as pa

from app.cells.codes import XML
from app.cells.described import describe_batch
from app.cells.text import Marks, TextRows
from app.schema.fields import Datatype, Field
from app.votable.wide import wide_columns

_MARKS: Final = Marks(
    style=XML,
    before="<TR><TD>",
    cells="</TD><TD>",
    rows="</TD></TR>\n<TR><TD>",
    after="</TD></TR>\n",
    not_a_number="NaN",
    infinity="+Inf",
    minus_infinity="-Inf",
)


class TableData:
    """Encodes batches as TR elements; NULL is an empty TD, or NaN as often as
    an array of a fixed number of reals has elements, and six of them for a polygon.

    A ``char`` column with text outside ASCII in ``sample``, the first batch, is declared as
    ``unicodeChar``. Such text that comes later is written all the same: XML can hold it.
    """

    opening = "<TABLEDATA>\n"
    closing = "</TABLEDATA>\n"

    def __init__(self, fields: Sequence[Field], sample: pa.RecordBatch | None = None) -> None:
        described = None if sample is None else describe_batch(fields, sample, XML)
        wide = wide_columns(fields, described)
        self.datatypes: tuple[Datatype, ...] = tuple(
            "unicodeChar" if number in wide else field.datatype
            for number, field in enumerate(fields)
        )
        self.nulls: tuple[int | None, ...] = (None,) * len(fields)
        self._rows = TextRows(fields, _MARKS)

    def encode(self, batch: pa.RecordBatch) -> bytes:
        """The rows of a batch that is not empty."""
        return self._rows.encode(batch)

    def finish(self) -> bytes:
        """Nothing is held back."""
        return b""

    def warnings(self) -> dict[str, str]:
        """Nothing is written otherwise than it came."""
        return {}

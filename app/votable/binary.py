"""BINARY and BINARY2 (VOTable 1.4, sections 5.3 and 5.4), a whole batch at a time.

A row is its columns one after the other, big-endian; an array of variable length is led by a
4-byte count. BINARY2 puts a bit per column before each row, set where the value is NULL. Both are
one base64 text.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import pyarrow as pa

from app.cells.base64 import SLACK, Base64
from app.cells.binary import BinaryPlan, BinaryRows, Layout
from app.cells.codes import XML
from app.cells.columns import LEAST, as_travelled, integers_of, size_of
from app.cells.described import describe_batch
from app.schema.fields import Datatype, Field
from app.votable.wide import wide_columns

_UNKNOWN: Final = ord("?")


class Binary:
    """Encodes batches as base64 text. ``null_flags``: BINARY2, else BINARY.

    ``char`` is ASCII in these serializations and clients fail on anything else, so a text column
    with other characters in ``sample``, the first batch, is declared and sent as ``unicodeChar``;
    if such a character comes later it is sent as ``?``.

    BINARY says NULL of an integer by a value: the least of its type, or the next one up that does
    not occur in ``sample``. :meth:`warnings` tells of columns in which it came later as a value.
    """

    def __init__(
        self, fields: Sequence[Field], sample: pa.RecordBatch | None, *, null_flags: bool
    ) -> None:
        tag = "BINARY2" if null_flags else "BINARY"
        self.opening = f'<{tag}>\n<STREAM encoding="base64">\n'
        self.closing = f"</STREAM>\n</{tag}>\n"
        self._fields = tuple(fields)
        self._sample = None if sample is None else describe_batch(fields, sample, XML)
        wide = wide_columns(fields, self._sample)
        self.datatypes: tuple[Datatype, ...] = tuple(
            "unicodeChar" if number in wide else field.datatype
            for number, field in enumerate(fields)
        )
        self.nulls: tuple[int | None, ...] = tuple(
            None if null_flags or field.kind != "integer" else _null_of(field, number, sample)
            for number, field in enumerate(fields)
        )
        self._null_flags = null_flags
        self._base64 = Base64()
        self._rows = BinaryRows(_plan(self._fields, self.datatypes, self.nulls, null_flags))

    def encode(self, batch: pa.RecordBatch) -> bytes:
        """The base64 text of the rows; up to two bytes are held back for the next call."""
        described, self._sample = self._sample, None
        if described is None or described.given is not batch:
            described = describe_batch(self._fields, batch, XML)
        data, n_bytes = self._rows.encode(described, before=self._base64.held, slack=SLACK)
        return self._base64.encode(data, n_bytes)

    def finish(self) -> bytes:
        """The base64 text of what was held back."""
        return self._base64.finish()

    def warnings(self) -> dict[str, str]:
        """Name of a column -> what of its values was not written as it came."""
        found = {
            name: f"some characters of column {name} outside ASCII were sent as ?"
            for name in self._rows.replaced
        }
        for name in () if self._null_flags else self._rows.mistaken:
            found[name] = f"some values of column {name} are the number that stands for NULL"
        return found


@lru_cache(maxsize=256)
def _plan(
    fields: tuple[Field, ...],
    datatypes: tuple[Datatype, ...],
    nulls: tuple[int | None, ...],
    null_flags: bool,
) -> BinaryPlan:
    layouts = [
        Layout(
            field=field,
            datatype=datatype,
            size=size_of(field),
            null=_UNKNOWN if datatype == "boolean" else null or 0,
        )
        for field, datatype, null in zip(fields, datatypes, nulls, strict=True)
    ]
    return BinaryPlan(layouts, null_flags=null_flags)


def _null_of(field: Field, number: int, sample: pa.RecordBatch | None) -> int:
    """The least number of the type that does not occur in the sample."""
    least = LEAST[field.datatype]
    if sample is None:
        return least
    values = integers_of(as_travelled(field, sample.column(number)))
    while (values == least).any():
        least += 1
    return least

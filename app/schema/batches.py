"""Column batches: the one form in which rows travel from a store to a writer.

A batch is a :class:`pyarrow.RecordBatch` whose columns stand in the order of the fields: int64 for
integers, float64 for reals, bool for booleans and string for everything else; NULL is an arrow
null.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from app.errors import UsageError
from app.schema.fields import Field

_ARROW_TYPES = {"integer": pa.int64(), "real": pa.float64(), "boolean": pa.bool_()}


def arrow_type(field: Field) -> pa.DataType:
    """The arrow type in which values of ``field`` travel."""
    return _ARROW_TYPES.get(field.kind, pa.string())


def arrow_schema(fields: Sequence[Field]) -> pa.Schema:
    """The arrow schema of batches of ``fields``."""
    return _schema(tuple(fields))


@lru_cache(maxsize=256)
def _schema(fields: tuple[Field, ...]) -> pa.Schema:
    return pa.schema([pa.field(field.name, arrow_type(field)) for field in fields])


def cast_integers(field: Field, column: pa.Array, target: pa.DataType) -> pa.Array:
    """``column`` as the narrower integer type ``target``; UsageError if a value does not fit."""
    try:
        return pc.cast(column, target)
    except pa.ArrowInvalid as error:
        raise UsageError(f"A value of column {field.name} does not fit its type: {error}") from None


def may_hold_nul(texts: pa.Array) -> bool:
    """Whether a NUL character is among the bytes of a column of text, those under its nulls
    included: a look that takes a tenth of a look at every value."""
    _, offsets, content = texts.buffers()
    if content is None:
        return False
    ends = np.frombuffer(offsets, np.int32)[[texts.offset, texts.offset + len(texts)]]
    return not np.frombuffer(content, np.uint8)[ends[0] : ends[1]].all()


class RowLimit:
    """Iterates over batches, letting at most ``maxrec`` rows through.

    ``overflow`` tells, once the iteration ended, whether a row was held back; ``rows`` how many
    went through. The source is closed when the limit is reached, on an error and by
    :meth:`close`, so the connection behind it is free again.
    """

    def __init__(self, batches: Iterable[pa.RecordBatch], maxrec: int) -> None:
        self._source = iter(batches)
        self._maxrec = maxrec
        self.rows = 0
        self.overflow = False

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        try:
            for batch in self._source:
                room = self._maxrec - self.rows
                self.overflow = batch.num_rows > room
                kept = batch.slice(0, room) if self.overflow else batch
                self.rows += kept.num_rows
                if kept.num_rows:
                    yield kept
                if self.overflow:
                    return
        finally:
            self.close()

    def close(self) -> None:
        """Close the source if it can be closed."""
        close = getattr(self._source, "close", None)
        if close is not None:
            close()

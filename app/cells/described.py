"""All columns of a batch as compiled code sees them, found out at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from app.cells.arrow_memory import exported
from app.cells.codes import BITS, COLUMN_BYTES, NUMBERS, TEXTS
from app.cells.columns import as_travelled
from app.schema.batches import arrow_schema
from app.schema.fields import Field

_KINDS: Final = {"integer": NUMBERS, "real": NUMBERS, "boolean": BITS}


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribedBatch:
    """A batch and, for each column, what :mod:`app.cells.columns` tells in five numbers; then how
    many values are NULL and, of texts, what occurs in them (bits of :mod:`app.cells.codes`) and
    how many bytes they have."""

    given: pa.RecordBatch
    columns: NDArray[np.int64]
    kept: Any

    @property
    def nulls(self) -> NDArray[np.int64]:
        """How many values of each column are NULL."""
        return self.columns[:, 5]

    @property
    def found(self) -> NDArray[np.int64]:
        """What occurs in the texts of each column that the style cannot hold as it is."""
        return self.columns[:, 6]

    @property
    def n_bytes(self) -> NDArray[np.int64]:
        """How many bytes the texts of each column have."""
        return self.columns[:, 7]


def describe_batch(fields: Sequence[Field], batch: pa.RecordBatch, style: int) -> DescribedBatch:
    """Look at a batch of ``fields`` whose texts are to be written in a style."""
    from app.cells.kernels.batches import describe

    travelled = batch_as_travelled(fields, batch)
    columns = np.zeros((len(fields), COLUMN_BYTES // 8), np.int64)
    columns[:, 0] = _kinds_of(tuple(fields))
    address, owner = exported(travelled)
    describe(address, columns.ctypes.data, style)
    return DescribedBatch(given=batch, columns=columns, kept=owner)


def batch_as_travelled(fields: Sequence[Field], batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch in the types in which values of the fields travel."""
    schema = arrow_schema(fields)
    if batch.schema.equals(schema):
        return batch
    columns = [as_travelled(*each) for each in zip(fields, batch.columns, strict=True)]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


@lru_cache(maxsize=256)
def _kinds_of(fields: tuple[Field, ...]) -> NDArray[np.int64]:
    return np.array([_KINDS.get(field.kind, TEXTS) for field in fields], np.int64)

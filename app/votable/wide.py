"""Which ``char`` columns must be ``unicodeChar``: ``char`` is ASCII (VOTable 1.4, section 2.1)."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from app.cells.codes import BEYOND_ASCII, XML
from app.cells.columns import as_travelled, scan_text
from app.schema.fields import Field


def wide_columns(fields: Sequence[Field], sample: pa.RecordBatch | None) -> frozenset[int]:
    """Numbers of the ``char`` columns in which ``sample`` has text outside ASCII."""
    if sample is None:
        return frozenset()
    return frozenset(
        number
        for number, (field, column) in enumerate(zip(fields, sample.columns, strict=True))
        if field.datatype == "char" and column.null_count < len(column)
        if scan_text(as_travelled(field, column), XML)[0] & BEYOND_ASCII
    )

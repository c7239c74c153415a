"""Which ``char`` columns must be ``unicodeChar``: ``char`` is ASCII (VOTable 1.4, section 2.1)."""

from __future__ import annotations

from collections.abc import Sequence

from app.cells.codes import BEYOND_ASCII
from app.cells.described import DescribedBatch
from app.schema.fields import Field


def wide_columns(fields: Sequence[Field], sample: DescribedBatch | None) -> frozenset[int]:
    """Numbers of the ``char`` columns in which ``sample``, described for XML, has text outside
    ASCII."""
    if sample is None:
        return frozenset()
    return frozenset(
        number
        for number in (sample.found & BEYOND_ASCII).nonzero()[0].tolist()
        if fields[number].datatype == "char"
    )

"""Tables that a client brings along with a query (TAP 1.1, section 2.7.5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from app.schema.fields import Catalog, Schema, Table

UPLOAD_SCHEMA: Final = "TAP_UPLOAD"
"""The schema in which queries find them."""


@dataclass(frozen=True, slots=True)
class UploadedTable:
    """``table`` is ``TAP_UPLOAD.name``; ``rows`` has its columns in order, in the types of
    :mod:`app.schema.batches`. The physical names are our own (``upload_1``, ``c1`` …), whatever
    the client called them; geometries travel as DALI or STC-S text."""

    table: Table
    rows: pa.Table


def to_uploaded(table: Table, columns: Sequence[pa.Array]) -> UploadedTable:
    """``columns`` as the rows of ``table``."""
    return UploadedTable(table, pa.table(list(columns), [f.physical for f in table.fields]))


def with_uploads(catalog: Catalog, uploads: Sequence[UploadedTable]) -> Catalog:
    """What a query with these tables may see."""
    if not uploads:
        return catalog
    schema = Schema(
        name=UPLOAD_SCHEMA,
        description="Tables that came with the query",
        tables=tuple(upload.table for upload in uploads),
    )
    return Catalog(schemas=(*catalog.schemas, schema))

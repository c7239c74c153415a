"""A document of several tables: the answer in one RESOURCE, what belongs to it in others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from app.schema.batches import arrow_schema
from app.schema.fields import Field
from app.votable.markup import HEAD, TAIL, Info, attributes, escape_text, format_field, format_info
from app.votable.systems import format_systems, system_of
from app.votable.tabledata import TableData


@dataclass(frozen=True, slots=True)
class NamedTable:
    """``rows`` map field names to values; a missing one is NULL."""

    name: str
    description: str
    fields: tuple[Field, ...]
    rows: Sequence[Mapping[str, Any]]


def write_tables(tables: Sequence[NamedTable], infos: Sequence[Info] = ()) -> bytes:
    """The first table is the result (DALI 1.1, section 4.4); the others are of type ``meta``."""
    status = (Info("QUERY_STATUS", "OK"), *infos)
    systems = format_systems([field for table in tables for field in table.fields])
    first = "".join(format_info(info) for info in status) + systems
    resources = [
        f'<RESOURCE type="{"meta" if number else "results"}">\n'
        f"{'' if number else first}{_table(table)}</RESOURCE>\n"
        for number, table in enumerate(tables)
    ]
    return f"{HEAD}{''.join(resources)}{TAIL}".encode()


def _table(table: NamedTable) -> str:
    batch = pa.RecordBatch.from_pylist(
        [dict(row) for row in table.rows], schema=arrow_schema(table.fields)
    )
    encoder = TableData(table.fields, batch)
    columns = "".join(
        format_field(field, datatype=datatype, ref=system_of(field))
        for field, datatype in zip(table.fields, encoder.datatypes, strict=True)
    )
    rows = encoder.encode(batch).decode() if batch.num_rows else ""
    described = f"<DESCRIPTION>{escape_text(table.description)}</DESCRIPTION>\n"
    head = attributes({"name": table.name})
    data = f"<DATA>\n{encoder.opening}{rows}{encoder.closing}</DATA>\n"
    return f"<TABLE{head}>\n{described}{columns}{data}</TABLE>\n"

"""Answers of queries as rows of cells."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from urllib.parse import quote

from app.schema.fields import Field
from app.services.query import QueryRequest, QueryService
from app.stores.tables.control import StatementControl

Scalar = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Records:
    """Rows of a small answer as plain values, in the order of ``fields``."""

    fields: tuple[Field, ...]
    rows: tuple[tuple[Scalar, ...], ...]
    truncated: bool

    def by_name(self) -> list[dict[str, Scalar]]:
        """Each row as column -> value."""
        names = [f.name for f in self.fields]
        return [dict(zip(names, row, strict=True)) for row in self.rows]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """What a cell shows; ``text`` None is NULL."""

    text: str | None
    href: str | None = None
    number: bool = False


@dataclass(frozen=True, slots=True)
class CellTable:
    """A result ready for the page."""

    fields: tuple[Field, ...]
    rows: list[list[Cell]]
    truncated: bool


def fetch(
    queries: QueryService,
    adql: str,
    *,
    service_url: str,
    maxrec: int,
    control: StatementControl | None = None,
) -> Records:
    """Run a query whose answer is small; ``control`` stops it. Raises what the query service
    raises."""
    request = QueryRequest(query=adql, service_url=service_url, maxrec=maxrec)
    result = queries.run(request, control=control)
    rows: list[tuple[Scalar, ...]] = []
    with closing(result.batches):
        for batch in result.batches:
            columns = [column.to_pylist() for column in batch.columns]
            rows += zip(*columns, strict=True)
    return Records(result.fields, tuple(rows[: result.maxrec]), len(rows) > result.maxrec)


def to_cells(records: Records, root: str) -> CellTable:
    """Identifiers of datasets become links to their pages, addresses become links."""
    rows = [
        [_cell(field, value, root) for field, value in zip(records.fields, row, strict=True)]
        for row in records.rows
    ]
    return CellTable(records.fields, rows, records.truncated)


def format_value(value: Scalar) -> str | None:
    """A value as text: floats to ten digits, None for NULL."""
    if value is None:
        return None
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def _cell(field: Field, value: Scalar, root: str) -> Cell:
    text = format_value(value)
    href = None
    if isinstance(value, str):
        if value.startswith("ivo://") and field.ucd in {
            "meta.ref.ivoid",
            "meta.id;meta.main",
            "meta.id",
        }:
            href = f"{root}/images?ID={quote(value, safe='')}"
        elif value.startswith(("http://", "https://")):
            href = value
    return Cell(text=text, href=href, number=field.kind in {"integer", "real"})

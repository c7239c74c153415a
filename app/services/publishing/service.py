"""Publishing a file as a table, and taking it back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from app.errors import ParameterError, UsageError
from app.schema.batches import arrow_schema
from app.schema.catalog import CATALOG, CatalogSource
from app.schema.fields import Field, Table
from app.services.publishing.columns import Plan, check_name, plan_columns
from app.services.publishing.files import open_table
from app.services.publishing.source import FileError, Source
from app.sky.bulk_regions import read_regions
from app.stores.tables.catalog_store import PublishedTable
from app.stores.tables.published import PublishedStore

Existing = Literal["refuse", "replace", "append"]
"""What to do when the table is there already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishReport:
    """What was published: ``rows`` of this file, ``total`` in the table now."""

    table: Table
    rows: int
    total: int
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishRequest:
    """What is asked for. ``position`` names the columns of the position; ``keys`` are pairs of a
    column and the ``schema.table.column`` that it refers to."""

    path: Path
    name: str
    description: str | None = None
    existing: Existing = "refuse"
    position: tuple[str, str] | None = None
    keys: tuple[tuple[str, str], ...] = ()


class PublishService:
    """Publishes tables. ``clock`` gives UTC."""

    def __init__(
        self, *, tables: PublishedStore, catalogs: CatalogSource, clock: Callable[[], datetime]
    ) -> None:
        self._tables = tables
        self._catalogs = catalogs
        self._clock = clock

    def publish(
        self, request: PublishRequest, *, progress: Callable[[int, int | None], None]
    ) -> PublishReport:
        """Load a file and let queries see it: whole, or nothing is changed.

        Raises ParameterError or FileError, which say what is wrong and where, and UsageError when
        another command is loading.
        """
        schema, _ = check_name(request.name)
        if request.name.lower() in {table.name.lower() for table in CATALOG.tables}:
            raise ParameterError("--name", f"{request.name} belongs to the service")
        source = open_table(request.path)
        if not source.fields:
            raise FileError(request.path, "the table has no columns")
        with self._tables.loading():
            old = self._tables.find(request.name)
            if old is None and request.existing == "append":
                raise ParameterError("--append", f"there is no table {request.name}")
            if old is not None and request.existing == "append":
                return self._append(request, source, old, progress)
            if old is not None and request.existing == "refuse":
                reason = f"{old.table.name} is published; give --replace or --append"
                raise ParameterError("--name", reason)
            return self._create(request, source, schema, progress)

    def _create(
        self,
        request: PublishRequest,
        source: Source,
        schema: str,
        progress: Callable[[int, int | None], None],
    ) -> PublishReport:
        plan = plan_columns(
            source.fields,
            name=request.name,
            catalog=self._catalogs.current(),
            position=request.position,
            keys=request.keys,
        )
        table = Table(
            schema_name=schema,
            name=request.name,
            physical="",
            fields=plan.fields,
            description=request.description or source.description,
            positions=plan.positions,
            foreign_keys=plan.foreign_keys,
        )
        try:
            made, rows = self._tables.create(
                table,
                stored_batches(source, plan),
                on_rows=lambda done: progress(done, source.rows),
            )
        except BaseException:
            self._tables.sweep()
            raise
        self._tables.publish(self._entry(made, rows, request.path))
        self._tables.sweep_later()
        return PublishReport(table=made, rows=rows, total=rows, notes=(*source.notes, *plan.notes))

    def _append(
        self,
        request: PublishRequest,
        source: Source,
        old: PublishedTable,
        progress: Callable[[int, int | None], None],
    ) -> PublishReport:
        if request.position or request.keys:
            raise ParameterError("--append", "--position and --key stay as they were published")
        table = old.table
        if request.description:
            table = replace(table, description=request.description)
        batches = _appended(source, table)
        rows = self._tables.append(
            self._entry(table, old.rows, request.path),
            batches,
            on_rows=lambda done: progress(done, source.rows),
        )
        return PublishReport(table=table, rows=rows, total=old.rows + rows, notes=source.notes)

    def _entry(self, table: Table, rows: int, path: Path) -> PublishedTable:
        moment = self._clock().isoformat(timespec="seconds").replace("+00:00", "Z")
        return PublishedTable(table=table, rows=rows, source=path.name, published=moment)

    def drop(self, name: str) -> PublishedTable:
        """Take a table out of the catalog and the database."""
        return self._tables.drop(name)


def stored_batches(source: Source, plan: Plan) -> Iterator[pa.RecordBatch]:
    """The rows of a file as they are stored: regions as ``POLYGON ICRS …``.

    Raises FileError, naming row and column, for a region that is none.
    """
    done = 0
    for batch in source.read():
        columns = list(batch.columns)
        if plan.region is not None:
            columns[plan.region] = _regions(
                source.path, plan.fields[plan.region], columns[plan.region], done, plan.is_circle
            )
        yield pa.RecordBatch.from_arrays(columns, schema=arrow_schema(plan.fields))
        done += batch.num_rows


def _regions(
    path: Path, field: Field, column: pa.Array, first_row: int, is_circle: bool
) -> pa.Array:
    regions = read_regions(column, is_circle=is_circle)
    for row, reason in regions.faults.items():
        where = f"row {first_row + row + 1}, column {field.name}"
        raise FileError(path, f"{where}: {column[row].as_py()[:80]!r}: {reason}")
    return regions.texts


def _appended(source: Source, table: Table) -> Iterator[pa.RecordBatch]:
    """The rows of a file in the columns of a table that is there; columns that the file lacks are
    null. Raises FileError for columns that the table lacks or whose values do not fit."""
    places = _places(source, table)
    done = 0
    for batch in source.read():
        columns = []
        for field in table.fields:
            place = places.get(field.name.lower())
            if place is None:
                columns.append(pa.nulls(batch.num_rows, arrow_schema([field]).types[0]))
                continue
            column = batch.column(place)
            if field.kind == "region":
                is_circle = (source.fields[place].xtype or "").lower() == "circle"
                columns.append(_regions(source.path, field, column, done, is_circle))
            else:
                columns.append(pc.cast(column, arrow_schema([field]).types[0]))
        yield pa.RecordBatch.from_arrays(columns, schema=arrow_schema(table.fields))
        done += batch.num_rows


def _places(source: Source, table: Table) -> dict[str, int]:
    """Column of the table -> place in the file."""
    plan = plan_columns(source.fields, name=table.name, catalog=CATALOG)
    places: dict[str, int] = {}
    for place, field in enumerate(plan.fields):
        known = table.find_field(field.name)
        if known is None:
            names = ", ".join(f.name for f in table.fields)
            reason = f"{table.name} has no column {field.name}; it has {names}"
            raise FileError(source.path, reason)
        texts = ("text", "timestamp", "region")
        fits = (
            known.kind == field.kind
            or (known.kind in texts and field.kind in texts)
            or (known.kind == "real" and field.kind == "integer")
        )
        if not fits:
            reason = f"column {field.name} holds {field.kind} values, {table.name} {known.kind}"
            raise FileError(source.path, reason)
        places[known.name.lower()] = place
    if not places:
        raise UsageError(f"{source.path}: no column in common with {table.name}")
    return places

"""Commands for tables that are published beside the images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from app.errors import UsageError
from app.terminal import DataDir, load_config, out, printable, progress_bar, write_report


def add_commands(app: typer.Typer) -> None:
    """Add ``ingest-table``, ``drop-table`` and ``tables``."""
    app.command("ingest-table")(ingest_table)
    app.command("drop-table")(drop_table)
    app.command("tables")(list_tables)


def ingest_table(
    file: Annotated[Path, typer.Argument(help="VOTable, FITS, Parquet, ECSV or CSV.")],
    name: Annotated[str, typer.Option(help="What queries call it: schema.table.")],
    description: Annotated[str | None, typer.Option(help="What the table holds.")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Exchange a published one.")] = False,
    append: Annotated[bool, typer.Option("--append", help="Add rows to a published one.")] = False,
    position: Annotated[
        str | None, typer.Option(help="Columns of the position (ICRS degrees): ra,dec.")
    ] = None,
    key: Annotated[
        list[str] | None,
        typer.Option(help="A column and what it refers to: id=ivoa.ObsCore.obs_publisher_did."),
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Publish a table beside ObsCore, with its units, UCDs and descriptions.

    All of it or nothing; what a table replaces stays readable until the new one is there.
    """
    from app.services.publishing.service import PublishRequest
    from app.wiring_database import initialise, open_publishing

    if replace and append:
        raise UsageError("--replace and --append exclude each other")
    request = PublishRequest(
        path=file,
        name=name,
        description=description,
        existing="replace" if replace else "append" if append else "refuse",
        position=_pair("--position", position, ",", "ra,dec") if position else None,
        keys=tuple(
            _pair("--key", each, "=", "id=ivoa.ObsCore.obs_publisher_did") for each in key or ()
        ),
    )
    config = load_config(data_dir=data_dir)
    initialise(config)
    with open_publishing(config) as service, progress_bar("ingest-table") as progress:
        report = service.publish(request, progress=progress)
    show(report)


def _pair(option: str, text: str, sign: str, example: str) -> tuple[str, str]:
    first, found, second = text.partition(sign)
    if not (found and first.strip() and second.strip()):
        raise UsageError(f"{option} {text!r}: write it like {example}")
    return first.strip(), second.strip()


def show(report: Any) -> None:
    """The columns as they are published, and what there is to know."""
    columns = Table("column", "type", "unit", "UCD", "index", title=report.table.name)
    for field in report.table.fields:
        columns.add_row(
            Text(printable(field.name)),
            "region" if field.kind == "region" else field.datatype,
            Text(field.unit or ""),
            Text(field.ucd or ""),
            "yes" if field.indexed else "",
        )
    out.print(columns)
    for note in report.notes:
        out.print(printable(note), highlight=False, markup=False, soft_wrap=True)
    added = f"{report.rows} rows"
    if report.total != report.rows:
        added += f", {report.total} in all"
    out.print(f"{report.table.name}: {added}", highlight=False, markup=False, soft_wrap=True)


def ingest_rows(file: Path, report: Path | None, data_dir: Path | None) -> int:
    """Import ObsCore rows; the exit status."""
    from app.services.external.service import SHOWN_FAULTS
    from app.wiring_database import initialise, open_row_import

    config = load_config(data_dir=data_dir)
    if report is not None:
        write_report(report, "")
    initialise(config)
    with open_row_import(config) as service, progress_bar("ingest --rows") as progress:
        outcome = service.run(file, progress=progress)
    if report is not None:
        write_report(report, json.dumps(outcome.to_json(), indent=1))
    summary = Table(title="Rows", show_header=False)
    for name, count in outcome.counts().items():
        summary.add_row(name, str(count))
    out.print(summary)
    for note in outcome.notes:
        out.print(printable(note), highlight=False, markup=False, soft_wrap=True)
    if outcome.faults:
        faults = Table("row", "column", "value", "what is allowed", title="Refused")
        for fault in outcome.faults[:SHOWN_FAULTS]:
            faults.add_row(
                str(fault.row), fault.column, Text(printable(fault.value)), Text(fault.reason)
            )
        out.print(faults)
        more = len(outcome.faults) - SHOWN_FAULTS
        if more > 0:
            out.print(f"and {more} more; --report FILE lists all", highlight=False)
    return outcome.exit_status


def drop_table(
    name: Annotated[str, typer.Argument(help="schema.table")], data_dir: DataDir = None
) -> None:
    """Take back a published table, with its rows."""
    from app.wiring_database import initialise, open_publishing

    config = load_config(data_dir=data_dir)
    initialise(config)
    with open_publishing(config) as service:
        gone = service.drop(name)
    out.print(f"{gone.table.name}: dropped, {gone.rows} rows", highlight=False, markup=False)


def list_tables(data_dir: DataDir = None) -> None:
    """List the tables that were published, with their rows and files."""
    from app.wiring_database import initialise, published_tables

    config = load_config(data_dir=data_dir)
    initialise(config)
    tables = published_tables(config)
    if not tables:
        out.print("no table was published; skyloom ingest-table does it", highlight=False)
        return
    shown = Table("table", "rows", "columns", "from", "on")
    for each in tables:
        count = str(len(each.table.fields))
        shown.add_row(
            each.table.name, str(each.rows), count, Text(printable(each.source)), each.published
        )
    out.print(shown)

"""Commands that look after database and data folder."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from app.terminal import DataDir, load_config, out, printable

_COLOURS = {"ok": "green", "mended": "cyan", "warn": "yellow", "fail": "red"}


def add_commands(app: typer.Typer) -> None:
    """Add ``doctor``, ``evict``, ``backup`` and ``restore``."""
    app.command("doctor")(doctor)
    app.command("evict")(evict)
    app.command("backup")(backup)
    app.command("restore")(restore)


def doctor(
    deep: Annotated[
        bool, typer.Option("--deep", help="Read every file and compare checksums.")
    ] = False,
    repair: Annotated[
        bool,
        typer.Option(
            "--repair",
            help="Withdraw products that are gone or corrupt, so that they are built again; remove "
            "product files without rows and what interrupted work left.",
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON report.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Check the database, the data folder and the files that rows point to.

    Exit status: 1 when something must be done. Ingested files are never changed.
    """
    from app.services.doctor.finding import exit_status
    from app.wiring_care import examine

    findings = examine(load_config(data_dir=data_dir), deep=deep, repair=repair)
    if as_json:
        out.print_json(json.dumps([asdict(finding) for finding in findings]))
    else:
        width = max(len(finding.status) for finding in findings)
        for finding in findings:
            line = Text(f"{finding.status:>{width}}", style=_COLOURS[finding.status])
            line.append(f"  {finding.subject}: {printable(finding.detail)}", style="default")
            out.print(line, highlight=False, soft_wrap=True)
    raise typer.Exit(exit_status(findings))


def evict(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only tell what would be evicted.")
    ] = False,
    data_dir: DataDir = None,
) -> None:
    """Evict built products by age and size, as SKYLOOM_PRODUCTS_UNUSED_DAYS and
    SKYLOOM_PRODUCTS_MAX_BYTES tell. What another product was made of, or an open job names, stays;
    what went is built again when it is asked for.
    """
    from app.services.eviction import lines_of
    from app.wiring_care import open_eviction
    from app.wiring_database import initialise

    config = load_config(data_dir=data_dir)
    initialise(config)
    with open_eviction(config) as eviction:
        report = eviction.run(dry=dry_run)
    _print(lines_of(report, dry=dry_run))


def backup(
    file: Annotated[Path, typer.Argument(help="The backup; there must be no such file yet.")],
    data_dir: DataDir = None,
) -> None:
    """Save the database, keys and settings in one file, while the service runs.

    A PostgreSQL database is saved by pg_dump; the keys and settings are saved here all the same.
    Keep the file to yourself: who has the keys can sign links.
    """
    from app.wiring_care import save

    report = save(load_config(data_dir=data_dir), file)
    lines = [f"{file}: {', '.join(report.names) or 'nothing'}, {report.size_bytes / 1e6:.1f} MB"]
    if not report.has_database:
        lines.append("the database is PostgreSQL's: save it with pg_dump --format=custom")
    _print(lines)


def restore(
    file: Annotated[Path, typer.Argument(help="What skyloom backup wrote.")],
    data_dir: DataDir = None,
) -> None:
    """Put a backup back into a place where no database and no keys are."""
    from app.wiring_care import put_back

    report = put_back(load_config(data_dir=data_dir), file)
    lines = [f"restored {', '.join(report.names)}", "run skyloom init, then skyloom doctor"]
    if not report.has_database:
        lines.insert(1, "restore the PostgreSQL database with pg_restore")
    _print(lines)


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        out.print(printable(line), highlight=False, markup=False, soft_wrap=True)

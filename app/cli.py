"""The ``skyloom`` command."""

from __future__ import annotations

import ctypes
import json
import os
import sys
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from app import (
    __version__,
    cli_access,
    cli_adql,
    cli_bench,
    cli_builds,
    cli_care,
    cli_hips,
    cli_tables,
)
from app.config import Config
from app.errors import ServiceError, UsageError
from app.schema.access import DATA_RIGHTS, read_instant
from app.terminal import DataDir, err, load_config, out, printable, progress_bar, write_report

MOMENTS = ["%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"]
UTC_TIME = "UTC, as 2026-05-01T18:00."

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8
"""From glibc's malloc.h."""

app = typer.Typer(
    name="skyloom",
    help="Publish FITS images the Virtual Observatory way; build templates and differences.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
cli_builds.add_commands(app)
cli_tables.add_commands(app)
cli_adql.add_commands(app)
cli_hips.add_commands(app)
cli_access.add_commands(app)
cli_care.add_commands(app)
cli_bench.add_commands(app)


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Skyloom."""
    if version:
        out.print(f"skyloom {__version__}", highlight=False)
        raise typer.Exit
    if context.invoked_subcommand is None:
        out.print(context.get_help())


@app.command()
def init(data_dir: DataDir = None) -> None:
    """Create the database, or upgrade it to this version."""
    from app.wiring_database import differences_are_listed, initialise

    config = load_config(data_dir=data_dir)
    lines = initialise(config)
    if not differences_are_listed(config):
        from app.wiring_images import open_listing

        with open_listing(config) as listing:
            lines.append(f"listed the differences that can be built ({listing.update()} changes)")
    for line in lines:
        out.print(line, highlight=False, markup=False, soft_wrap=True)


@app.command()
def ingest(
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            help="Files and folders of FITS images; addresses https://…, s3://bucket/prefix."
        ),
    ] = None,
    addresses: Annotated[
        Path | None, typer.Option(help="A text file with an address in each line.")
    ] = None,
    collection: Annotated[str | None, typer.Option(help="obs_collection of the rows.")] = None,
    rows: Annotated[
        Path | None,
        typer.Option(help="A table of ObsCore rows whose images lie elsewhere."),
    ] = None,
    profile: Annotated[Path | None, typer.Option(help="How headers map to ObsCore.")] = None,
    report: Annotated[Path | None, typer.Option(help="Write a JSON report here.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes that read.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Read unchanged files too.")] = False,
    data_rights: Annotated[
        str | None, typer.Option(help="Who may have the pixels: public, secure or proprietary.")
    ] = None,
    release_date: Annotated[
        str | None, typer.Option(help="From when everybody may (ISO 8601, UTC).")
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Read images and publish one row for each; or import rows of another service (--rows).

    Exit status: 0 all files are published or unchanged (all rows are in), 1 some were refused
    (each with its reason in the summary and the report), 2 the call itself is wrong.
    """
    if rows is not None:
        if paths or addresses or collection or profile or force or data_rights or release_date:
            raise UsageError("--rows stands alone: the rows of the table say everything")
        raise typer.Exit(cli_tables.ingest_rows(rows, report, data_dir))
    images = [*(paths or ()), *read_addresses(addresses)]
    if not images or not collection:
        raise UsageError("give the images and their --collection, or --rows FILE")
    from app.wiring_database import initialise
    from app.wiring_images import open_ingest

    config = load_config(data_dir=data_dir, workers=workers)
    columns = rights_columns(data_rights, release_date)
    if report is not None:
        write_report(report, "")
    initialise(config)
    with open_ingest(config) as service, progress_bar("ingest") as progress:
        outcome = service.run(
            images,
            collection=collection,
            profile=profile,
            progress=progress,
            force=force,
            columns=columns,
        )
    if report is not None:
        write_report(report, json.dumps(outcome.to_json(), indent=1))
    show_ingest(outcome)
    raise typer.Exit(outcome.exit_status)


def rights_columns(data_rights: str | None, release_date: str | None) -> dict[str, str]:
    """The columns of the options. Raises UsageError for what they cannot hold."""
    columns: dict[str, str] = {}
    if data_rights is not None:
        if data_rights not in DATA_RIGHTS:
            raise UsageError(f"--data-rights {data_rights!r}: one of {', '.join(DATA_RIGHTS)}")
        columns["data_rights"] = data_rights
    if release_date is not None:
        if read_instant(release_date) is None:
            raise UsageError(f"--release-date {release_date!r}: write it like 2027-03-01")
        columns["obs_release_date"] = release_date
    return columns


def read_addresses(file: Path | None) -> list[str]:
    """The lines of a file that are not empty and do not begin with #."""
    if file is None:
        return []
    try:
        lines = [line.strip() for line in file.read_text().splitlines()]
    except (OSError, UnicodeDecodeError) as fault:
        raise UsageError(f"--addresses {file}: it cannot be read as text") from fault
    return [line for line in lines if line and not line.startswith("#")]


def show_ingest(outcome: Any) -> None:
    """The summary table of an ingest run: the counts, then each refused file with its reason."""
    table = Table(title="Ingest", show_header=False)
    for name, count in outcome.counts().items():
        table.add_row(name, str(count))
    out.print(table)
    if not outcome.files:
        out.print("No file there has the name of a FITS file, such as *.fits or *.fits.gz.")
    if outcome.refused:
        reasons = Table("file", "reason", title="Refused")
        for path, reason in outcome.refused:
            # Text: what looks like markup in a file's name is part of the name.
            reasons.add_row(Text(printable(path)), Text(printable(reason)))
        out.print(reasons)


@app.command()
def withdraw(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Identifiers (ivo://…), or files with all their images."),
    ] = None,
    collection: Annotated[
        str | None, typer.Option(help="Instead: all that was ingested into this collection.")
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Take images out of the archive; their files stay. Products made of them are stale then.

    Of those named all or none. An image whose file stays in its folder is published again when the
    folder is ingested again.
    """
    if (names is None) == (collection is None):
        raise UsageError("name either images and files, or a --collection")
    from app.wiring_database import initialise
    from app.wiring_images import open_withdrawal

    config = load_config(data_dir=data_dir)
    initialise(config)
    with open_withdrawal(config) as service:
        if collection is not None:
            count = service.run_collection(collection)
            out.print(f"withdrawn: {count:,} images of {printable(collection)}", markup=False)
            return
        report = service.run(names or ())
    for title, ids in (("withdrawn", report.withdrawn), ("stale", report.stale)):
        for name in ids:
            out.print(f"{title}: {printable(name)}", highlight=False, markup=False, soft_wrap=True)


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8000,
    data_dir: DataDir = None,
) -> None:
    """Run the service."""
    config = load_config(data_dir=data_dir)
    run_server(config, host, port)


def run_server(config: Config, host: str, port: int) -> None:
    """Start the server on a freshly made application; returns when it is told to stop."""
    from app import logs, server, traces
    from app.main import create_app
    from app.wiring_database import initialise
    from app.wiring_images import list_in_background
    from app.wiring_operations import Reload

    traces.configure()
    initialise(config)
    list_in_background(config)
    logs.configure(config.log_format, config.log_level)
    application = create_app(config)
    reload = Reload(
        config, lambda: load_config(data_dir=config.data_dir), application.services.operations
    )
    server.run(application, host=host, port=port, wait_s=config.shutdown_wait_s, reload=reload.run)


def bound_memory() -> None:
    """Have glibc give the memory of large buffers back at once (elsewhere nothing is done).

    By default it keeps what many threads have freed in pools of their own, and a service that has
    sent a long answer, or a command that reads a large file, never becomes small again. A little
    of it stays: a small answer takes a tenth of its time to get that much memory anew.
    """
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, 1 << 20)
        mallopt(_M_ARENA_MAX, 4)
        mallopt(_M_TRIM_THRESHOLD, 8 << 20)


@app.command()
def worker(
    scheduler: Annotated[str, typer.Argument(help="Dask scheduler, e.g. tcp://host:8786.")],
    threads: Annotated[int, typer.Option(min=1, help="Builds at once in this worker.")] = 1,
) -> None:
    """Run a worker of a Dask cluster (the same as ``dask worker`` with the right options)."""
    from app import logs, traces
    from app.workers.cluster import run_worker

    config = load_config()
    traces.is_wanted(os.environ)
    logs.configure(config.log_format, config.log_level)
    run_worker(scheduler, threads=threads)


@app.command()
def announce(
    down_at: Annotated[datetime | None, typer.Option(formats=MOMENTS, help=UTC_TIME)] = None,
    back_at: Annotated[datetime | None, typer.Option(formats=MOMENTS, help=UTC_TIME)] = None,
    note: Annotated[str, typer.Option(help="Why, for the users.")] = "",
    clear: Annotated[bool, typer.Option("--clear", help="Announce nothing any more.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Announce that the service will be stopped: /availability and the VO's monitors tell it."""
    from app.operations.state import Announcement, Announcements

    announcements = Announcements(data_dir=load_config(data_dir=data_dir).data_dir)
    if clear:
        announcements.clear()
        return
    if down_at is None and back_at is None and not note:
        raise UsageError("give --down-at, --back-at or a --note; or --clear")
    moments = [None if each is None else each.replace(tzinfo=UTC) for each in (down_at, back_at)]
    announcements.write(Announcement(down_at=moments[0], back_at=moments[1], note=note))


@app.command("registry-record")
def registry_record(
    output: Annotated[Path | None, typer.Option(help="Write it here, not to the terminal.")] = None,
    data_dir: DataDir = None,
) -> None:
    """Write the record of the service for the VO's registry (VOResource, XML)."""
    from app.wiring_registry import registry_record as make_record

    document = make_record(load_config(data_dir=data_dir))
    if output is not None:
        write_report(output, document.decode())
    else:
        sys.stdout.buffer.write(document)


@app.command("warm-up")
def warm_up() -> None:
    """Compile what builds need, once after an installation (about a minute)."""
    from app.wiring_warm import warm_up as run_small_builds

    with progress_bar("compile") as progress:
        run_small_builds(progress)


@app.command()
def demo(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8000,
    data_dir: DataDir = Path(".demo"),
    seed: Annotated[int, typer.Option(help="Seed of the simulation.")] = 1,
    serve_it: Annotated[bool, typer.Option("--serve/--no-serve", help="Serve it.")] = True,
) -> None:
    """Make a small simulated survey, publish it and serve it."""
    from app.wiring_images import prepare_demo, write_demo_settings

    write_demo_settings(load_config(data_dir=data_dir).data_dir)
    config = load_config(data_dir=data_dir, access_log=False)  # the announcement stays in sight
    with progress_bar("simulate and ingest") as progress:
        truth, outcome = prepare_demo(config, seed=seed, progress=progress)
    show_ingest(outcome)
    if serve_it:
        from app.demo.announce import announce

        address = config.base_url or f"http://{host}:{port}"
        text = announce(truth, base_url=address, authority=config.authority)
        # soft_wrap: addresses and commands stay whole when they are copied.
        out.print(text, highlight=False, markup=False, soft_wrap=True)
        run_server(config, host, port)


def main() -> None:
    """Entry point: a ServiceError is one clear line and exit status 2, never a traceback."""
    bound_memory()
    try:
        app()
    except ServiceError as fault:
        text = f"skyloom: {printable(fault)}"
        err.print(text, style="red", highlight=False, markup=False, soft_wrap=True)
        sys.exit(2)


if __name__ == "__main__":
    main()

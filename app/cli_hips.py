"""Commands for progressive surveys."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from app.terminal import DataDir, err, load_config, out, printable, progress_bar


def add_commands(app: typer.Typer) -> None:
    """Add ``hips``."""
    app.command("hips")(make_hips)


def make_hips(
    collection: Annotated[str, typer.Argument(help="obs_collection of the images.")],
    band: Annotated[str | None, typer.Option(help="lsst_band, where there are several.")] = None,
    out_dir: Annotated[
        Path | None,
        typer.Option("--out", help="Folder; without it where the service shows it at /hips."),
    ] = None,
    order: Annotated[
        int | None, typer.Option(min=3, help="Finest tiles; without it as fine as the images.")
    ] = None,
    title: Annotated[str | None, typer.Option(help="What people call it.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes at work.")] = None,
    data_dir: DataDir = None,
) -> None:
    """Make a progressive survey (HiPS) of the calibrated images of a collection, or bring it up to
    date: what is whole already is kept.

    Exit status: 0 all images are in it, 1 some could not be read (each with its reason).
    """
    from app.wiring_database import initialise
    from app.wiring_images import open_hips

    config = load_config(data_dir=data_dir, workers=workers)
    initialise(config)
    with open_hips(config) as service, progress_bar("hips") as progress:
        survey = service.plan(collection, band=band, order=order, title=title)
        report = service.run(survey, out_dir or service.place_of(survey), progress)
    for fault in report.faults:
        err.print(printable(fault), highlight=False, markup=False, soft_wrap=True)
    out.print(
        f"{report.folder}: {report.tiles} tiles; {report.made} blocks made, "
        f"{report.kept} kept as they were",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
    if report.faults:
        raise typer.Exit(1)

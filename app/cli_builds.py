"""Commands that build: one product, or the templates of many patches."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from app.errors import UsageError
from app.recipes.recipe import BuildKind
from app.services.parameters import is_storable
from app.terminal import DataDir, load_config, out, printable, progress_bar, write_report

_SHOWN = 20
"""Patches without a template that are told one by one."""


def add_commands(app: typer.Typer) -> None:
    """Add ``build``."""
    commands = typer.Typer(help="Build products and wait for them.", no_args_is_help=True)
    app.add_typer(commands, name="build")
    commands.command("template")(build_template)
    commands.command("templates")(build_templates)
    commands.command("difference")(build_difference)


def build_template(
    parameter: Annotated[list[str], typer.Argument(help="NAME=VALUE, as in /builds/template.")],
    data_dir: DataDir = None,
) -> None:
    """Build a template: POS=…, BAND=…, ID=…, TEMPLATE_IDS=…, FWHM_FRACTION=…, TIME=…."""
    build_one("template", parameter, data_dir)


def build_difference(
    parameter: Annotated[list[str], typer.Argument(help="NAME=VALUE, as in /builds/difference.")],
    data_dir: DataDir = None,
) -> None:
    """Build a difference image: ID=… of the science image, and the template's choice."""
    build_one("difference", parameter, data_dir)


def build_one(kind: BuildKind, pairs: list[str], data_dir: Path | None) -> None:
    """Run one build job to its end in this process and print the product."""
    from app.wiring import run_build

    dataset_id, path = run_build(load_config(data_dir=data_dir), kind, parse_pairs(pairs))
    out.print(f"{dataset_id}\n{path}", highlight=False, soft_wrap=True)


def build_templates(
    band: Annotated[str, typer.Option(help="Band of the templates.")],
    parameter: Annotated[
        list[str] | None,
        typer.Argument(help="NAME=VALUE: the choice of inputs, as in /builds/template."),
    ] = None,
    tract: Annotated[int | None, typer.Option(help="One tract; with --patch one patch.")] = None,
    patch: Annotated[int | None, typer.Option(help="One patch of --tract.")] = None,
    pos: Annotated[
        str | None, typer.Option(help="Patches there: lon lat, CIRCLE …, RANGE …, POLYGON ….")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Builds at once.")] = None,
    report: Annotated[Path | None, typer.Option(help="Write a JSON report here.")] = None,
    data_dir: DataDir = None,
) -> None:
    """Build the templates of a band: of the whole sky map, a tract, a patch or a region.

    Patches with fewer than two exposures have none. What is built already is passed over, so a run
    that was stopped is simply started again. Exit status: 0 every template is there, 1 some builds
    failed (each with its reason) or the run was interrupted, 2 the call itself is wrong.
    """
    from app.wiring import run_batch

    if pos is not None and tract is not None:
        raise UsageError("--pos and --tract exclude each other")
    if patch is not None and tract is None:
        raise UsageError("--patch needs --tract")
    if report is not None:
        write_report(report, "")
    config = load_config(data_dir=data_dir, workers=workers)
    with progress_bar(f"templates in {band}") as progress:
        outcome = run_batch(
            config,
            band=band,
            pos=pos,
            tract=tract,
            patch=patch,
            parameters=parse_pairs(parameter or []),
            progress=progress,
        )
    if report is not None:
        write_report(report, json.dumps(outcome.to_json(), indent=1))
    show_batch(outcome)
    raise typer.Exit(outcome.exit_status)


def show_batch(outcome: Any) -> None:
    """The counts, then patches that have no template, with the reason."""
    table = Table(title="Templates", show_header=False)
    for name, count in outcome.counts().items():
        table.add_row(name, str(count))
    out.print(table)
    without = [each for each in outcome.outcomes if each.reason is not None]
    if without:
        reasons = Table("tract", "patch", "reason", title="Without a template")
        for each in without[:_SHOWN]:
            reasons.add_row(str(each.tract), str(each.patch), Text(printable(each.reason)))
        out.print(reasons)
    if len(without) > _SHOWN:
        out.print(f"… and {len(without) - _SHOWN} more (--report FILE has them all)")
    if outcome.interrupted:
        out.print("Interrupted: start it again to go on.")


def parse_pairs(pairs: list[str]) -> tuple[tuple[str, str], ...]:
    """``NAME=VALUE`` as parameters. Raises UsageError."""
    parameters = []
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise UsageError(f"{pair!r}: write NAME=VALUE, for example BAND=i")
        if not is_storable(pair):
            raise UsageError(f"{pair!a}: this is not UTF-8 text")
        parameters.append((name, value))
    return tuple(parameters)

"""Commands that build: one product, the templates of many patches, or many differences."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from app.errors import CoverageError, UsageError
from app.recipes.recipe import BuildKind
from app.recipes.request import parse_target
from app.services.parameters import is_storable
from app.terminal import DataDir, load_config, out, printable, progress_bar, write_report

if TYPE_CHECKING:
    from app.services.batches import DifferenceBatch, DifferenceBatchRequest
    from app.services.build_runs import BatchReport

_SHOWN = 20
"""Builds without a product that are told one by one."""


def add_commands(app: typer.Typer) -> None:
    """Add ``build``."""
    commands = typer.Typer(help="Build products and wait for them.", no_args_is_help=True)
    app.add_typer(commands, name="build")
    commands.command("template")(build_template)
    commands.command("templates")(build_templates)
    commands.command("difference")(build_difference)
    commands.command("differences")(build_differences)


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
    from app.wiring_builds import run_build

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
    from app.services.batches import BatchRequest
    from app.wiring_builds import open_template_batch

    if pos is not None and tract is not None:
        raise UsageError("--pos and --tract exclude each other")
    if patch is not None and tract is None:
        raise UsageError("--patch needs --tract")
    if report is not None:
        write_report(report, "")
    request = BatchRequest(
        band=band,
        shape=None if pos is None else parse_target(pos),
        tract=tract,
        patch=patch,
        parameters=parse_pairs(parameter or []),
    )
    config = load_config(data_dir=data_dir, workers=workers)
    with (
        progress_bar(f"templates in {band}") as progress,
        open_template_batch(config) as batch,
    ):
        outcome = batch.run(request, progress)
    if report is not None:
        write_report(report, json.dumps(outcome.to_json("patches"), indent=1))
    show_batch(outcome, "Templates", ("tract", "patch"))
    raise typer.Exit(outcome.exit_status)


def build_differences(
    band: Annotated[str, typer.Option(help="Band of the exposures.")],
    parameter: Annotated[
        list[str] | None,
        typer.Argument(help="NAME=VALUE: template and match, as in /builds/difference."),
    ] = None,
    pos: Annotated[
        str | None, typer.Option(help="Exposures there: lon lat, CIRCLE …, RANGE …, POLYGON ….")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Builds at once.")] = None,
    watch: Annotated[
        float | None,
        typer.Option(min=0.1, help="Go on, and look for new exposures after so many seconds."),
    ] = None,
    report: Annotated[Path | None, typer.Option(help="Write a JSON report here.")] = None,
    data_dir: DataDir = None,
) -> None:
    """Build the difference images of the calibrated exposures of a band, all or those of a region.

    Exposures without two others for a template have none. What is built already is passed over, so
    a run that was stopped is simply started again. With --watch the command goes on until Ctrl-C:
    exposures that are ingested meanwhile are built, too, and those that now have a template. Exit
    status: 0 every difference that can be built is there, 1 some builds failed (each with its
    reason) or the run was interrupted, 2 the call itself is wrong.
    """
    from app.services.batches import DifferenceBatchRequest
    from app.wiring_builds import open_difference_batch

    if report is not None:
        write_report(report, "")
    request = DifferenceBatchRequest(
        band=band,
        shape=None if pos is None else parse_target(pos),
        parameters=parse_pairs(parameter or []),
    )
    config = load_config(data_dir=data_dir, workers=workers)
    with open_difference_batch(config) as batch:
        outcome = _run_differences(batch, request)
        if watch is None and not (outcome.outcomes or outcome.interrupted):
            raise CoverageError(f"No image of band {band} there to make differences of", 0, 1)
        _tell_differences(outcome, report)
        while watch is not None and not outcome.interrupted and _slept(watch):
            more = _run_differences(batch, request)
            if more.outcomes:
                outcome.add(more)
                _tell_differences(outcome, report)
    raise typer.Exit(outcome.exit_status)


def _run_differences(batch: DifferenceBatch, request: DifferenceBatchRequest) -> BatchReport:
    with progress_bar(f"differences in {request.band}") as progress:
        return batch.run(request, progress)


def _tell_differences(outcome: BatchReport, report: Path | None) -> None:
    if report is not None:
        write_report(report, json.dumps(outcome.to_json("exposures"), indent=1))
    show_batch(outcome, "Differences", ("science",))


def _slept(seconds: float) -> bool:
    """Whether the time went by; False after Ctrl-C."""
    try:
        time.sleep(seconds)
    except KeyboardInterrupt:
        return False
    return True


def show_batch(outcome: BatchReport, title: str, named: tuple[str, ...]) -> None:
    """The counts, then what has no product, with the reason."""
    table = Table(title=title, show_header=False)
    for name, count in outcome.counts().items():
        table.add_row(name, str(count))
    out.print(table)
    without = [each for each in outcome.outcomes if each.reason is not None]
    if without:
        reasons = Table(*named, "reason", title="Without a product")
        for each in without[:_SHOWN]:
            words = (Text(printable(each.of[name])) for name in named)
            reasons.add_row(*words, Text(printable(each.reason)))
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

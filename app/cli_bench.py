"""``skyloom bench``: how fast Skyloom is here."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from app.terminal import DataDir, err, load_config, out, printable

if TYPE_CHECKING:
    from app.bench.figures import Figure
    from app.bench.runs import Outcome


def add_commands(app: typer.Typer) -> None:
    """Add ``bench``."""
    app.command("bench")(bench)


def bench(
    url: Annotated[
        str | None, typer.Option(help="A service that runs, to be measured instead of the data.")
    ] = None,
    seconds: Annotated[int, typer.Option(min=5, help="How long it may take, about.")] = 90,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON report.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Measure this machine on a small sample, and your own data, beside figures of a known machine;
    tell what is slow and which setting to turn.

    Your data are only read; what is made of the sample is removed again. Exit status: 0 all was
    measured, 1 something could not be.
    """
    from app.bench.runs import new_outcome, run_own, run_sample, run_service
    from app.stores.database import sqlite_file

    config = load_config(data_dir=data_dir)
    file = sqlite_file(config.effective_database_url)
    outcome = new_outcome()
    with err.status("bench") as status:

        def tell(what: str) -> None:
            status.update(f"measuring: {what}")

        run_sample(config, outcome, seconds=0.75 * seconds, tell=tell)
        if url is not None:
            run_service(url, outcome, seconds=0.25 * seconds, tell=tell)
        elif file is None or file.exists():
            run_own(config, outcome, seconds=0.25 * seconds, tell=tell)
    show_json(outcome) if as_json else show(outcome)
    raise typer.Exit(int(any(each.value is None for each in (*outcome.sample, *outcome.own))))


def show_json(outcome: Outcome) -> None:
    """Everything, for machines: figures in s (the disk in MB/s) with those of the reference."""
    from app.bench.figures import REFERENCE_MACHINE, TOPICS, advice

    def rows(figures: Iterable[Figure]) -> list[dict[str, object]]:
        return [{**asdict(each), "reference": TOPICS[each.name].reference} for each in figures]

    told = {
        "machine": asdict(outcome.machine),
        "reference_machine": REFERENCE_MACHINE,
        "sample": rows(outcome.sample),
        "own": rows(outcome.own),
        "advice": advice((*outcome.sample, *outcome.own)),
    }
    out.print_json(json.dumps(told))


def show(outcome: Outcome) -> None:
    """Tables for people, and what to do."""
    from app.bench.figures import REFERENCE_MACHINE, advice

    machine = outcome.machine
    _say(
        f"{machine.processor}, {machine.cores} cores, {machine.memory_bytes / 1e9:.0f} GB, "
        f"{machine.system}, Python {machine.python}"
    )
    _say(f"reference: {REFERENCE_MACHINE}")
    out.print(_table("This machine, with five simulated images", outcome.sample))
    if outcome.own:
        out.print(_table("Your data", outcome.own))
    else:
        _say("There are no public images of your own to measure yet.")
    lines = advice((*outcome.sample, *outcome.own))
    for line in lines or ["Nothing is slow beside the reference."]:
        _say(line)


def _table(title: str, figures: Iterable[Figure]) -> Table:
    from app.bench.figures import TOPICS, slowness

    table = Table(title=title)
    for name in ("what", "here", "per second", "reference", "times slower"):
        table.add_column(name, justify="left" if name == "what" else "right")
    for each in figures:
        topic, times = TOPICS[each.name], slowness(each)
        here = each.note if each.value is None else _value(each.value, each.unit)
        table.add_row(
            topic.title,
            printable(here),
            f"{each.rate:.3g}" if each.rate else "",
            "" if topic.reference is None else _value(topic.reference, each.unit),
            f"{times:.1f}" if times else "",
        )
    return table


def _value(value: float, unit: str) -> str:
    if unit == "s" and value < 1.0:
        return f"{1000 * value:.3g} ms"
    return f"{value:.3g} {unit}"


def _say(text: str) -> None:
    out.print(printable(text), highlight=False, markup=False, soft_wrap=True)

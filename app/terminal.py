"""What the commands have in common: settings, the terminal, reports."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from app.config import Config, find_misspelt
from app.errors import UsageError

out = Console()
err = Console(stderr=True)

DataDir = Annotated[
    Path | None,
    typer.Option(help="Where the database, products and caches lie. [env: SKYLOOM_DATA_DIR]"),
]


def load_config(**overrides: Any) -> Config:
    """Settings with the command line's own on top. Raises UsageError naming a wrong setting."""
    given = {k: v for k, v in overrides.items() if v is not None}
    misspelt = find_misspelt(os.environ)
    if misspelt is not None:
        raise UsageError(f"setting {misspelt[0]}: not known; did you mean {misspelt[1]}?")
    try:
        return Config(**given)
    except ValidationError as fault:
        first = fault.errors()[0]
        name = "SKYLOOM_" + "_".join(str(part) for part in first["loc"]).upper()
        reason = first["msg"].removeprefix("Value error, ")
        raise UsageError(f"setting {name}: {reason} (given: {first['input']!r})") from None


@contextmanager
def progress_bar(title: str) -> Iterator[Any]:
    """A callback ``(done, total)`` that moves a bar on a terminal and is silent elsewhere."""
    columns = (
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def write_report(path: Path, text: str) -> None:
    """Write the report. Raises UsageError; tried before the work, so that none is lost."""
    try:
        path.write_text(text)
    except OSError as fault:
        raise UsageError(f"--report {path}: {fault.strerror}") from None


def printable(text: object) -> str:
    """What a terminal can show of a text: bytes of a file name that are no UTF-8 as ``?``."""
    return str(text).encode(errors="replace").decode()

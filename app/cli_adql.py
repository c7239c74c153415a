"""Commands for ADQL queries."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from app.errors import UsageError
from app.terminal import DataDir, load_config, out, printable


def add_commands(app: typer.Typer) -> None:
    """Add ``adql check``."""
    group = typer.Typer(help="Look at ADQL queries.", no_args_is_help=True)
    group.command("check")(check)
    group.callback()(_group)
    app.add_typer(group, name="adql")


def _group() -> None:
    """Look at ADQL queries."""


def check(
    file: Annotated[str, typer.Argument(help="Queries, ended by semicolons; - for stdin.")],
    syntax: Annotated[bool, typer.Option("--syntax", help="Leave names unchecked.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Judge queries without running them; tell the columns that valid ones answer.

    The tables are those of the database in the data folder, if there is one, otherwise those that
    every service has. Exit status: 0 all queries are valid, 1 some are not, 2 the call itself is
    wrong.
    """
    from app.adql.judging import judge_query, split_queries
    from app.wiring_database import known_catalog

    passages = list(split_queries(read_text(file)))
    if not passages:
        raise UsageError(f"{file}: there is no query in it")
    catalog = known_catalog(load_config(data_dir=data_dir))
    worst = 0
    for passage in passages:
        verdict = judge_query(passage.text, catalog, syntax_only=syntax)
        worst = max(worst, 0 if verdict.valid else 1)
        line, column = passage.place(verdict.line or 1, verdict.column or 1)
        report = f"{verdict.kind}: {verdict.message}" if verdict.kind else "valid"
        lines = [f"{file}:{line}:{column}: {report}"]
        if verdict.mended is not None:
            lines.append(f"  FIX=true would write: {verdict.mended.text}")
        lines += [f"  {field.name}  {describe_field(field)}" for field in verdict.fields]
        for each in lines:
            out.print(printable(each), highlight=False, markup=False, soft_wrap=True)
    raise typer.Exit(worst)


def read_text(file: str) -> str:
    """The text of a file, or of standard input for ``-``. Raises UsageError."""
    try:
        data = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        return data.decode()
    except OSError as fault:
        raise UsageError(f"{file}: {fault.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{file}: this is not UTF-8 text") from None


def describe_field(field: Any) -> str:
    """Type, unit and UCD of a column in one line."""
    size = f"({field.arraysize})" if field.arraysize else ""
    facts = (f"[{field.unit}]" if field.unit else "", field.xtype or "", field.ucd or "")
    return "  ".join((f"{field.datatype}{size}", *filter(None, facts)))

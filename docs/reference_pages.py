"""The pages of the reference, written from the code that they describe."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from app import errors
from app.config import PREFIX, Config
from app.errors import ServiceError
from app.http.faults import fault_of
from app.schema.catalog import CATALOG
from app.schema.rows import DatasetRow
from app.services.build_descriptors import build_descriptors
from app.services.cutout_descriptor import describe_parameters
from app.services.discovery import describe_discovery
from app.votable.descriptors import InputParameter

_IMAGE = DatasetRow(
    columns={"obs_publisher_did": "ivo://AUTHORITY/collection?image"},
    file_path="",
    file_hdu=0,
    file_size=0,
    file_mtime_ns=0,
    file_checksum="",
    image_ref="",
)
"""Some image: descriptors are those of a row."""


def write(folder: Path) -> None:
    """Write all pages; those that would not change are left alone."""
    folder.mkdir(exist_ok=True)
    for name, lines in (
        ("settings", _settings()),
        ("errors", _errors()),
        ("tables", _tables()),
        ("parameters", _parameters()),
    ):
        path, text = folder / f"{name}.md", "\n".join(lines) + "\n"
        if not path.exists() or path.read_text() != text:
            path.write_text(text)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    cells = [head, ["---"] * len(head), *rows]
    return ["", *(f"| {' | '.join(_cell(each) for each in row)} |" for row in cells), ""]


def _cell(text: str) -> str:
    return re.sub(r"\s+", " ", text.replace("``", "`")).replace("|", "\\|").strip()


def _settings() -> list[str]:
    """Every setting with its default and the text below it in the source."""
    told = _texts_below_fields(Config)
    rows = []
    for name, field in Config.model_fields.items():
        default = "as many as fit the machine" if field.default_factory else _shown(field.default)
        rows.append((f"`{PREFIX}{name.upper()}`", default, told.get(name, "")))
    return [
        "# Settings",
        "",
        "From the environment, or in lower case and without the prefix from `skyloom.toml` in the",
        "data folder ([operations](../operations.md#settings)).",
        *_table(("setting", "default", "meaning"), rows),
    ]


def _shown(default: object) -> str:
    if default in (None, "", ()):
        return "none"
    return f"`{default}`"


def _texts_below_fields(described: type) -> dict[str, str]:
    """The string that follows each field of a class: Python itself forgets it."""
    (tree,) = ast.parse(inspect.getsource(described)).body
    assert isinstance(tree, ast.ClassDef)
    texts = {}
    for field, after in zip(tree.body, tree.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(after, ast.Expr):
            texts[ast.unparse(field.target)] = ast.literal_eval(after.value)
    return texts


def _errors() -> list[str]:
    """Every class of errors with what a client sees of it."""
    rows = []
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, ServiceError):
            fault = fault_of(kind)
            template = (kind.__doc__ or "").splitlines()[0]
            message = re.sub(r"\{(\d)(![rs])?\}", "…", template)
            row = (kind.__name__, str(fault.status), fault.dali, fault.label, message)
            rows.append(row)
    return [
        "# Errors",
        "",
        "The class stands in the record of a job, the status with the answer, the DALI fault at",
        "the beginning of the text in a VOTable, the label at that of plain text.",
        *_table(("class", "status", "DALI fault", "label", "text"), rows),
    ]


def _tables() -> list[str]:
    """Every table that may be queried, with its columns."""
    lines = ["# Tables", "", "What every service has; published catalogs come beside them.", ""]
    for table in CATALOG.tables:
        rows = [
            (
                f"`{field.name}`",
                field.datatype + (f"({field.arraysize})" if field.arraysize else ""),
                field.unit or "",
                field.ucd or "",
                field.description,
            )
            for field in table.fields
        ]
        lines += [f"## {table.name}", "", table.description]
        lines += _table(("column", "type", "unit", "UCD", "meaning"), rows)
    return lines


def _parameters() -> list[str]:
    """The parameters of every service but TAP."""
    builds = {each.access_url: each for each in build_descriptors((_IMAGE,), "")}
    rooms = (
        ("Image search: /sia/query", describe_discovery("").inputs),
        ("Cutouts: /soda/sync", describe_parameters()),
        *((f"Builds: {url}", each.inputs) for url, each in builds.items() if url.endswith("sync")),
    )
    lines = ["# Parameters", "", "Names in upper or lower case.", ""]
    for title, inputs in rooms:
        lines += [f"## {title}", *_table(("name", "unit", "meaning"), map(_parameter, inputs))]
    return lines


def _parameter(each: InputParameter) -> tuple[str, str, str]:
    options = (
        f" One of {', '.join(f'`{value}`' for value in each.options)}." if each.options else ""
    )
    return f"`{each.name}`", each.unit or "", each.description + options

"""CSV and its kin: types found by looking at every value, a header that may carry units.

The file is gone through twice: once to find the narrowest type that every value of a column has,
once to load.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv as arrow_csv

from app.schema.batches import arrow_schema
from app.schema.fields import Field
from app.services.publishing.descriptions import is_unit
from app.services.publishing.source import FileError, Source

NULLS: Final = ("", "NULL", "null", "NaN", "nan", "NAN", "N/A", "--", "None")
"""Texts that mean an unknown value, in columns of numbers; elsewhere only the empty one does."""

_BLOCK_BYTES: Final = 4 << 20
_LOOKED_AT: Final = 64
_NAME_WITH_UNIT: Final = re.compile(r"(.*?)\s*[\[(]([^\])]*)[\])]\s*\Z", re.DOTALL)
_INTEGER: Final = r"^\s*[+-]?[0-9]{1,18}\s*$"
_REAL: Final = r"^\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eEdD][+-]?[0-9]+)?\s*$|^\s*[+-]?[iI]nf\s*$"
_BOOLEAN: Final = r"(?i)^\s*(true|false|t|f)\s*$"
_INSTANT: Final = r"^\s*[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]+)?)?Z?\s*$"
_KINDS: Final = (
    (_INTEGER, Field(name="", kind="integer", datatype="long")),
    (_REAL, Field(name="", kind="real", datatype="double")),
    (_BOOLEAN, Field(name="", kind="boolean", datatype="boolean")),
    (
        _INSTANT,
        Field(name="", kind="timestamp", datatype="char", arraysize="*", xtype="timestamp"),
    ),
)
_TEXT: Final = Field(name="", kind="text", datatype="char", arraysize="*")


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where the rows begin and how they are cut."""

    skipped: int
    delimiter: str
    names: tuple[str, ...]
    units: tuple[str | None, ...]


def open_csv(path: Path) -> Source:
    """A text table with a header line, cut by commas, tabs, semicolons or bars."""
    layout = _layout(path)
    kinds, rows = _find_kinds(path, layout)
    fields = tuple(
        Field(
            name=name,
            unit=unit,
            kind=kind.kind,
            datatype=kind.datatype,
            arraysize=kind.arraysize,
            xtype=kind.xtype,
        )
        for name, unit, kind in zip(layout.names, layout.units, kinds, strict=True)
    )
    return Source(path=path, fields=fields, read=lambda: _typed(path, layout, fields), rows=rows)


def _layout(path: Path) -> _Layout:
    lines = _first_lines(path)
    skipped = 0
    while skipped < len(lines) and (not lines[skipped].strip() or lines[skipped][0] == "#"):
        skipped += 1
    if skipped == len(lines):
        raise FileError(path, "there is no header line with the names of the columns")
    header = lines[skipped]
    delimiter = max(",\t;|", key=header.count)
    names, unit_texts = [], []
    for cell in next(csv.reader([header], delimiter=delimiter)):
        name, unit = _split_unit(cell.strip())
        names.append(name)
        unit_texts.append(unit)
    if all(re.match(_REAL, name) for name in names):
        raise FileError(
            path, f"line {skipped + 1}: a header with the names of the columns is needed"
        )
    more = _unit_line(lines[skipped + 1 :], delimiter, len(names))
    if more is not None:
        unit_texts = [unit or other for unit, other in zip(unit_texts, more, strict=True)]
    return _Layout(skipped + (1 if more is None else 2), delimiter, tuple(names), tuple(unit_texts))


def _first_lines(path: Path) -> list[str]:
    try:
        with path.open("rb") as file:
            head = file.read(1 << 20)
        return head.decode("utf-8-sig", "replace").splitlines()
    except OSError as fault:
        raise FileError(path, fault.strerror or "cannot be read") from None


def _split_unit(cell: str) -> tuple[str, str | None]:
    """``ra [deg]`` and ``ra (deg)`` are a name with a unit."""
    found = _NAME_WITH_UNIT.match(cell)
    if found and found[1] and _is_unit(found[2]):
        return found[1], found[2].strip() or None
    return cell, None


def _is_unit(cell: str) -> bool:
    return not re.match(_REAL, cell) and is_unit(cell)


def _unit_line(lines: Sequence[str], delimiter: str, width: int) -> list[str | None] | None:
    """The units in the line below the header, if it is one: units or nothing in each cell, and
    numbers in the lines below where it has a unit."""
    rows = list(csv.reader(lines[:_LOOKED_AT], delimiter=delimiter))
    if len(rows) < 2 or len(rows[0]) != width:
        return None
    cells = [cell.strip().strip("[]()") for cell in rows[0]]
    if not any(cells) or not all(not cell or _is_unit(cell) for cell in cells):
        return None
    below = [row for row in rows[1:] if len(row) == width]
    named = [index for index, cell in enumerate(cells) if cell]
    if not all(re.match(_REAL, row[i]) or row[i].strip() in NULLS for row in below for i in named):
        return None
    return [cell or None for cell in cells]


def _read_texts(path: Path, layout: _Layout) -> Iterator[pa.RecordBatch]:
    """The rows as text, every column by its number."""
    names = [str(number) for number in range(len(layout.names))]
    try:
        yield from arrow_csv.open_csv(
            path,
            read_options=arrow_csv.ReadOptions(
                use_threads=False,
                block_size=_BLOCK_BYTES,
                skip_rows=layout.skipped,
                column_names=names,
            ),
            parse_options=arrow_csv.ParseOptions(
                delimiter=layout.delimiter, newlines_in_values=True
            ),
            convert_options=arrow_csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()),
                null_values=[""],
                strings_can_be_null=True,
            ),
        )
    except (OSError, pa.ArrowException) as fault:
        if "Empty CSV" in str(fault):
            return
        raise FileError(path, _located(str(fault), layout)) from None


def _located(message: str, layout: _Layout) -> str:
    """Arrow's complaint with the line of the file instead of the row it counted."""
    first = message.splitlines()[0]
    row = re.search(r"Row #(\d+)", first)
    if row is None:
        return first
    line = int(row[1])
    expected = re.search(r"Expected (\d+) columns, got (\d+)", first)
    if expected:
        return f"line {line}: {expected[2]} values where the header names {expected[1]} columns"
    return f"line {line}: {first}"


def _find_kinds(path: Path, layout: _Layout) -> tuple[list[Field], int]:
    """The type of each column, and the number of rows."""
    left = [list(_KINDS) for _ in layout.names]
    known = [False] * len(layout.names)
    rows = 0
    for batch in _read_texts(path, layout):
        rows += batch.num_rows
        for number, column in enumerate(batch.columns):
            values = _without_nulls(column)
            if len(values):
                known[number] = True
            left[number] = [
                (pattern, kind) for pattern, kind in left[number] if _all_match(values, pattern)
            ]
    kinds = [
        options[0][1] if options and found else _TEXT
        for options, found in zip(left, known, strict=True)
    ]
    return kinds, rows


def _without_nulls(column: pa.Array) -> pa.Array:
    return column.filter(pc.invert(pc.is_in(column, pa.array([*NULLS, None], pa.string()))))


def _all_match(values: pa.Array, pattern: str) -> bool:
    return bool(pc.all(pc.match_substring_regex(values, pattern), min_count=0).as_py())


def _typed(path: Path, layout: _Layout, fields: Sequence[Field]) -> Iterator[pa.RecordBatch]:
    for batch in _read_texts(path, layout):
        arrays = [
            _convert(field, column) for field, column in zip(fields, batch.columns, strict=True)
        ]
        yield pa.RecordBatch.from_arrays(arrays, schema=arrow_schema(fields))


def _convert(field: Field, column: pa.Array) -> pa.Array:
    if field.kind == "text":
        return column
    nothing = pa.scalar(None, pa.string())
    bare = pc.utf8_trim_whitespace(column)
    bare = pc.if_else(pc.is_in(bare, pa.array(NULLS)), nothing, bare)
    if field.kind == "timestamp":
        return bare
    if field.kind == "boolean":
        return pc.match_substring_regex(bare, "(?i)^t")
    bare = pc.replace_substring_regex(bare, r"^\+", "")
    if field.kind == "integer":
        return pc.cast(bare, pa.int64())
    numbers = pc.cast(pc.replace_substring_regex(bare, "[dD]", "e"), pa.float64())
    return pc.if_else(pc.is_finite(numbers), numbers, pa.scalar(None, pa.float64()))

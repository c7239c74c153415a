"""Random tables of every type, in every format, through readers that are not ours."""

from __future__ import annotations

import csv
import io
import json
import math
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from astropy.io import fits
from hypothesis import HealthCheck, given, settings

from app.schema.fields import Field
from app.services.formats import FORMATS
from app.tabular.registry import CSV, FITS, JSON, PARQUET, TSV, OutputFormat
from tests.cells.tables import (
    ARRAYS,
    FIELDS,
    SINGLE,
    VALUES,
    Rows,
    as_batches,
    elements,
    numbers,
    same_real,
    tables,
)

TEXTS = ("c", "u", "c4", "u3", "t")
OPEN = ("c", "u", "t")
SLOW = settings(max_examples=25, suppress_health_check=list(HealthCheck))


def _file(output: OutputFormat, rows: Rows, fields: tuple[Field, ...] = FIELDS) -> bytes:
    return b"".join(output.write(fields, as_batches(rows, fields), 100))


def _check_scalars(name: str, found: str, wanted: Any) -> None:
    if wanted is None:
        assert found == "", name
    elif name in ("s", "i", "l"):
        assert found == str(wanted), name
    elif name == "b":
        assert found == str(wanted).lower()
    else:
        assert same_real(float(found), wanted, single=name == "f"), name


@SLOW
@given(rows=tables())
def test_csv_is_read_back(rows: Rows) -> None:
    head, *records = csv.reader(io.StringIO(_file(CSV, rows).decode(), newline=""))
    assert head == [field.name for field in FIELDS]
    assert len(records) == len(rows["s"])
    for number, record in enumerate(records):
        for name, found in zip(head, record, strict=True):
            wanted = rows[name][number]
            if name in TEXTS or name in ARRAYS:
                assert found == (wanted or ""), name
            else:
                _check_scalars(name, found, wanted)


@SLOW
@given(rows=tables())
def test_csv_tells_null_from_empty_text(rows: Rows) -> None:
    texts = pa.csv.ConvertOptions(
        column_types={"u": pa.string()},
        include_columns=["u"],
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,
        null_values=[""],
    )
    options = pa.csv.ParseOptions(newlines_in_values=True)
    file = io.BytesIO(_file(CSV, rows))
    table = pa.csv.read_csv(file, parse_options=options, convert_options=texts)
    assert table["u"].to_pylist() == rows["u"]


def test_no_row_of_a_csv_of_one_column_is_an_empty_line() -> None:
    text = _file(CSV, {"s": [1, None, 2]}, (FIELDS[0],)).decode()
    assert text == 's\n1\n""\n2\n'


@SLOW
@given(rows=tables())
def test_tsv_has_a_line_per_row(rows: Rows) -> None:
    head, *lines, end = _file(TSV, rows).decode().split("\n")
    assert end == ""
    assert len(lines) == len(rows["s"])
    names = head.split("\t")
    for number, line in enumerate(lines):
        for name, found in zip(names, line.split("\t"), strict=True):
            wanted = rows[name][number]
            if name in TEXTS or name in ARRAYS:
                assert found == re.sub("[\t\r\n]", " ", wanted or ""), name
            else:
                _check_scalars(name, found, wanted)


@SLOW
@given(rows=tables())
def test_json_is_read_back(rows: Rows) -> None:
    document = json.loads(_file(JSON, rows))
    names = [column["name"] for column in document["metadata"]]
    assert len(document["data"]) == len(rows["s"])
    for number, record in enumerate(document["data"]):
        for name, found in zip(names, record, strict=True):
            wanted = rows[name][number]
            if wanted is None or (isinstance(wanted, float) and not math.isfinite(wanted)):
                assert found is None, name
            elif name in ARRAYS:
                _check_elements(name, found, wanted)
            elif name in ("f", "d"):
                assert same_real(found, wanted, single=name == "f"), name
            else:
                assert (found, type(found)) == (wanted, type(wanted)), name


def _check_elements(name: str, found: list[Any], wanted: str) -> None:
    if name in ("sv", "iv", "lv"):
        assert found == [int(word) for word in wanted.split()]
    else:
        expected = numbers(wanted)
        assert len(found) == len(expected)
        for element, value in zip(found, expected, strict=True):
            assert same_real(element, value, single=name in SINGLE)


@SLOW
@given(rows=tables())
def test_parquet_is_read_back(rows: Rows) -> None:
    table = pa.parquet.read_table(io.BytesIO(_file(PARQUET, rows)))
    for name, column in zip(table.column_names, table.columns, strict=True):
        for found, wanted in zip(column.to_pylist(), rows[name], strict=True):
            if wanted is None:
                assert found is None, name
            elif name in ARRAYS:
                _check_elements(name, found, wanted)
            elif name in ("f", "d"):
                assert same_real(found, wanted, single=name == "f"), name
            else:
                assert found == wanted, name


@SLOW
@given(rows=tables())
def test_fits_is_read_back(rows: Rows) -> None:
    with fits.open(io.BytesIO(_file(FITS, rows)), logical_as_bytes=True) as hdus:
        hdus.verify("exception")
        table, header = hdus[1].data, hdus[1].header
        assert len(table) == len(rows["s"])
        for number, field in enumerate(FIELDS, start=1):
            null = header.get(f"TNULL{number}")
            for found, wanted in zip(table[field.name], rows[field.name], strict=True):
                _check_fits(field.name, found, wanted, null)


def _check_fits(name: str, found: Any, wanted: Any, null: int | None) -> None:
    if name in ("s", "i", "l"):
        assert int(found) == (null if wanted is None else wanted), name
        assert wanted is None or wanted != null
    elif name in ("f", "d"):
        assert same_real(float(found), wanted, single=name == "f")
    elif name == "b":
        assert bytes(found).ljust(1, b"\0") == {None: b"\0", True: b"T", False: b"F"}[wanted]
    elif name in TEXTS:
        text = re.sub("[\t\r\n]", " ", wanted or "")
        assert found == re.sub("[^\x20-\x7e]", "?", text).rstrip(" ")
    else:
        given_ = [v for v in elements(found) if v != null and not math.isnan(v)]
        expected = numbers(wanted)
        if name in SINGLE:
            expected = [float(np.float32(value)) for value in expected]
        assert name in ("sv", "iv", "lv") or given_ == expected
        assert name not in ("sv", "iv", "lv") or given_ == [int(w) for w in (wanted or "").split()]


@pytest.mark.needs("stilts")
@pytest.mark.parametrize("output", (CSV, FITS), ids=lambda output: output.name)
def test_stilts_reads_it(tmp_path: Path, output: OutputFormat) -> None:
    rows: Rows = {name: [_example(name), None] for name in VALUES}
    path = tmp_path / "table"
    path.write_bytes(_file(output, rows))
    command = ["stilts", "tpipe", f"in={path}", f"ifmt={output.name}", "ofmt=csv"]
    command.append("cmd=keepcols 'l d c'")
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["l,d,c", f"{2**53 + 1},0.1,a b", ",,"]


def _example(name: str) -> Any:
    known = {"l": 2**53 + 1, "d": 0.1, "c": "a b", "t": "2026-01-02T03:04:05", "u": "x"}
    numbers_ = {"p": "1 2", "poly": "1 2 3", "sv": "1", "iv": "1 2 3", "lv": "5", "fv": "1 2 3 4"}
    numbers_ |= {"z": "1 2", "zv": "1 2 3 4", "z2": "1 2 3 4"}
    others = {"s": 1, "i": 2, "f": 1.5, "b": True, "c4": "abcd", "u3": "xyz"}
    return (known | numbers_ | others)[name]


@pytest.mark.parametrize("output", FORMATS.formats, ids=lambda output: output.name)
def test_memory_does_not_grow_with_the_rows(output: OutputFormat) -> None:
    fields = (FIELDS[2], FIELDS[6])
    text = ["x" * 500] * 8000
    idle = pa.total_allocated_bytes()
    most = longest = 0

    def source() -> Iterator[pa.RecordBatch]:
        for number in range(60):
            integers = pa.array(range(number * 8000, number * 8000 + 8000), pa.int64())
            yield pa.RecordBatch.from_arrays([integers, pa.array(text)], names=["l", "c"])

    for piece in output.write(fields, source(), 10**9):
        most = max(most, pa.total_allocated_bytes() - idle)
        longest = max(longest, len(piece))
    assert most < 100 * 2**20  # the whole is 250 MB
    assert longest < 64 * 2**20

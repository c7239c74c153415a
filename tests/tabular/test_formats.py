"""What a reader of each format gets back."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from astropy.io import fits
from astropy.table import Table

from app.errors import StoreUnavailableError, UnsupportedFormatError, UsageError
from app.schema.batches import arrow_schema
from app.schema.fields import Field
from app.tabular.registry import CSV, FITS, JSON, PARQUET, TSV, FormatRegistry, OutputFormat

ALL = (CSV, TSV, JSON, FITS, PARQUET)
FIELDS = (
    Field(name="i", kind="integer", datatype="int"),
    Field(name="l", kind="integer", datatype="long", ucd="meta.id"),
    Field(name="f", kind="real", datatype="float"),
    Field(name="d", kind="real", datatype="double", unit="deg", description="Größe"),
    Field(name="b", kind="boolean", datatype="boolean"),
    Field(name="c", kind="text", datatype="char", arraysize="*"),
)
ROWS: dict[str, list[object]] = {
    "i": [1, None, -5],
    "l": [2**53 + 1, None, -(2**62)],
    "f": [1.5, None, 0.1],
    "d": [0.1, None, math.nan],
    "b": [True, None, False],
    "c": ['a,"b"\tc\nd\\e\x01', None, "plain"],
}


def _batch(start: int = 0, stop: int = 3) -> pa.RecordBatch:
    schema = arrow_schema(FIELDS)
    arrays = [
        pa.array(ROWS[f.name][start:stop], t.type) for f, t in zip(FIELDS, schema, strict=True)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _file(output: OutputFormat, maxrec: int = 10) -> bytes:
    return b"".join(output.write(FIELDS, iter([_batch(0, 2), _batch(0, 0), _batch(2, 3)]), maxrec))


def test_csv() -> None:
    rows = list(csv.reader(io.StringIO(_file(CSV).decode(), newline="")))
    assert rows[0] == ["i", "l", "f", "d", "b", "c"]
    assert rows[1] == ["1", str(2**53 + 1), "1.5", "0.1", "true", ROWS["c"][0]]
    assert rows[2] == ["", "", "", "", "", ""]
    assert rows[3] == ["-5", str(-(2**62)), "0.1", "NaN", "false", "plain"]


def test_tsv_values_hold_no_tab_and_no_line_end() -> None:
    lines = _file(TSV).decode().split("\n")
    assert lines[0] == "i\tl\tf\td\tb\tc"
    assert lines[1] == f'1\t{2**53 + 1}\t1.5\t0.1\ttrue\ta,"b" c d\\e\x01'
    assert lines[2] == "\t" * 5
    assert lines[4:] == [""]


def test_json() -> None:
    document = json.loads(_file(JSON))
    assert [c["name"] for c in document["metadata"]] == [f.name for f in FIELDS]
    assert document["metadata"][3]["unit"] == "deg"
    assert document["data"] == [
        [1, 2**53 + 1, 1.5, 0.1, True, ROWS["c"][0]],
        [None] * 6,
        [-5, -(2**62), 0.1, None, False, "plain"],
    ]
    assert document["query_status"] == "OK"
    assert json.loads(_file(JSON, maxrec=1))["query_status"] == "OVERFLOW"
    assert json.loads(_file(JSON, maxrec=0))["data"] == []


def test_fits() -> None:
    with fits.open(io.BytesIO(_file(FITS))) as hdus:
        hdus.verify("exception")
        assert hdus[1].header["TUNIT4"] == "deg"
        assert hdus[1].header["QSTATUS"] == "OK"
    table = Table.read(io.BytesIO(_file(FITS)), hdu=1)
    assert table["i"].mask.tolist() == table["l"].mask.tolist() == [False, True, False]
    assert table["l"][0] == 2**53 + 1
    assert table["l"][2] == -(2**62)
    assert table["f"][2] == np.float32(0.1)
    assert np.isnan(np.ma.filled(table["d"], np.nan)).tolist() == [False, True, True]
    assert bool(table["b"][0]) is True
    assert bool(table["b"][2]) is False
    assert str(table["c"][2]) == "plain"


def test_fits_is_whole_blocks_and_survives_no_rows() -> None:
    empty = _file(FITS, maxrec=0)
    assert len(empty) % 2880 == len(_file(FITS)) % 2880 == 0
    with fits.open(io.BytesIO(empty)) as hdus:
        assert hdus[1].header["NAXIS2"] == 0
        assert hdus[1].header["QSTATUS"] == "OVERFLOW"


def test_parquet() -> None:
    table = pa.parquet.read_table(io.BytesIO(_file(PARQUET)))
    assert [str(t) for t in table.schema.types] == [
        "int32", "int64", "float", "double", "bool", "string"
    ]  # fmt: skip
    assert table.column("l").to_pylist() == ROWS["l"]
    assert table.column("c").to_pylist() == ROWS["c"]
    assert table.column("b").to_pylist() == ROWS["b"]
    assert table.schema.field("d").metadata[b"unit"] == b"deg"
    footer = pa.parquet.read_metadata(io.BytesIO(_file(PARQUET, maxrec=1))).metadata
    assert footer[b"query_status"] == b"OVERFLOW"


def test_parquet_begins_with_a_small_row_group() -> None:
    asked = []

    def batches() -> Iterator[pa.RecordBatch]:
        for number in range(8):
            asked.append(number)
            yield _batch()

    chunks = PARQUET.write(FIELDS, batches(), 10**9)
    head, group = next(chunks), next(chunks)
    assert head.startswith(b"PAR1") and len(group) > 0 and len(asked) <= 2
    footer = pa.parquet.read_metadata(io.BytesIO(head + group + b"".join(chunks)))
    assert [footer.row_group(n).num_rows for n in range(footer.num_row_groups)] == [3, 3, 6, 12]


@pytest.mark.parametrize("output", ALL, ids=lambda f: f.name)
def test_no_byte_before_the_first_batch(output: OutputFormat) -> None:
    def broken() -> Iterator[pa.RecordBatch]:
        raise StoreUnavailableError("gone")
        yield

    with pytest.raises(StoreUnavailableError):
        next(output.write(FIELDS, broken(), 10))


@pytest.mark.parametrize("output", (CSV, TSV, JSON, PARQUET), ids=lambda f: f.name)
def test_hanging_up_closes_the_source(output: OutputFormat) -> None:
    closed = []

    def source() -> Iterator[pa.RecordBatch]:
        try:
            while True:
                yield _batch()
        finally:
            closed.append(True)

    chunks = output.write(FIELDS, source(), 10**9)
    for _ in range(3):
        next(chunks)
    chunks.close()
    assert closed == [True]


def test_numbers_that_do_not_fit_are_refused() -> None:
    fields = (Field(name="i", kind="integer", datatype="int"),)
    batch = pa.RecordBatch.from_arrays([pa.array([2**40])], names=["i"])
    with pytest.raises(UsageError, match="column i"):
        b"".join(CSV.write(fields, [batch], 10))


def test_the_registry_knows_names_and_media_types() -> None:
    registry = FormatRegistry(ALL)
    assert registry.choose(None) == (CSV, "text/csv;header=present")
    assert registry.choose("text/csv") == (CSV, "text/csv")
    assert registry.choose("csv") == (CSV, "text/csv;header=present")
    assert registry.choose("Text/CSV; header=present")[0] is CSV
    assert registry.choose("FITS") == (FITS, "application/fits")
    assert registry.choose("parquet")[0] is PARQUET
    with pytest.raises(UnsupportedFormatError, match=r"FORMAT.*'gif'.*csv.*parquet"):
        registry.choose("gif", parameter="FORMAT")

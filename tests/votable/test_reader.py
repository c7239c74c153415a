"""Documents of strangers: whatever they hold, columns come or an error that names the upload."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.errors import LimitError, ServiceError, UploadError
from app.votable.columns import read_columns
from app.votable.parse import RawField, RawTable, parse_table

TYPES = ["boolean", "bit", "unsignedByte", "short", "int", "long", "float", "double"]
TYPES += ["char", "unicodeChar", "floatComplex", ""]
XTYPES = ["", "timestamp", "point", "circle", "polygon", "adql:REGION", "interval"]

FIELDS = st.lists(
    st.builds(
        lambda name, datatype, arraysize, xtype, null: RawField(
            {
                "name": name,
                "datatype": datatype,
                **({"arraysize": arraysize} if arraysize else {}),
                **({"xtype": xtype} if xtype else {}),
            },
            null=null or None,
        ),
        st.sampled_from(["a", "b", "c", "select", 'x"y', ""]),
        st.sampled_from(TYPES),
        st.sampled_from(["", "*", "1", "2", "3", "5*", "2x3", "2x*", "x"]),
        st.sampled_from(XTYPES),
        st.sampled_from(["", "0", "-99", "NaN"]),
    ),
    min_size=1,
    max_size=4,
)
WORDS = (
    *("", "1", "-7", "0x1F", "1.5", "NaN", "+Inf", "T", "false", "?", "1 2", "1 2 3", "1_0"),
    *("99999999999", "10 20 0.5", "0 0 1 0 1 1", "2026-01-01", "CIRCLE ICRS 1 2 3", "ż", "1e999"),
    "9" * 40,
)
CELLS = st.sampled_from(WORDS)
MARKUP = (
    *("<VOTABLE>", "<RESOURCE>", "<TABLE>", "</TABLE>", "<DATA>", "<TR>", "<TABLEDATA>", "text"),
    *('<FIELD name="a" datatype="int"/>', "</TABLEDATA>", "<TD>1</TD>", "</TR>", "&lt;", "&a;"),
    *("</DATA>", "</RESOURCE>", "</VOTABLE>", "<BINARY2>", "<STREAM>AAAA</STREAM>", "</BINARY2>"),
    *("<!DOCTYPE a>", "<x:TD/>"),
)


def check(raw: RawTable) -> None:
    try:
        fields, columns = read_columns(raw, name="t", max_rows=50)
    except (UploadError, LimitError):
        return
    assert len({len(column) for column in columns}) == 1
    for field, column in zip(fields, columns, strict=True):
        column.validate(full=True)
        assert field.name and field.physical.startswith("c")


@settings(max_examples=400)
@given(FIELDS, st.sampled_from(["binary", "binary2"]), st.binary(max_size=120))
def test_any_stream(fields: list[RawField], form: Any, stream: bytes) -> None:
    check(RawTable(fields, form, [], stream))


@settings(max_examples=400)
@given(FIELDS, st.data())
def test_any_cells(fields: list[RawField], data: st.DataObject) -> None:
    rows = data.draw(st.integers(0, 3))
    count = rows * len(fields)
    cells = data.draw(st.lists(CELLS, min_size=count, max_size=count))
    check(RawTable(fields, "tabledata", cells, b""))


@settings(max_examples=300)
@given(st.lists(st.sampled_from(MARKUP), max_size=25))
def test_any_markup(pieces: list[str]) -> None:
    for text in ("".join(pieces), "<VOTABLE>" + "".join(pieces) + "</VOTABLE>"):
        try:
            check(parse_table(text.encode(), name="t", max_rows=50, max_columns=5))
        except ServiceError as error:
            assert isinstance(error, UploadError | LimitError)


def document(encoding: str, text: str = "ż") -> bytes:
    body = (
        f'<?xml version="1.0" encoding="{encoding}"?><VOTABLE><RESOURCE><TABLE>'
        '<FIELD name="t" datatype="unicodeChar" arraysize="*"/><DATA><TABLEDATA>'
        f"<TR><TD>{text}</TD></TR></TABLEDATA></DATA></TABLE></RESOURCE></VOTABLE>"
    )
    return body.encode(encoding)


@pytest.mark.parametrize("encoding", ["UTF-8", "UTF-16", "ISO-8859-2"])
def test_encodings(encoding: str) -> None:
    raw = parse_table(document(encoding), name="t", max_rows=5, max_columns=5)
    assert read_columns(raw, name="t", max_rows=5)[1][0].to_pylist() == ["ż"]


def test_an_encoding_that_is_not_known() -> None:
    content = document("UTF-8").replace(b"UTF-8", b"KLINGON")
    with pytest.raises(UploadError, match=r"Upload t: .*encoding"):
        parse_table(content, name="t", max_rows=5, max_columns=5)


def test_a_prefix_and_a_second_table() -> None:
    first = document("UTF-8").decode().partition("?>")[2]
    both = first.replace("</RESOURCE>", first[first.index("<TABLE>") :].replace("ż", "no"), 1)
    prefixed = both.replace("</", "</v:").replace("<", "<v:").replace("<v:/v:", "</v:")
    prefixed = prefixed.replace("<v:VOTABLE>", '<v:VOTABLE xmlns:v="urn:v">')
    prefixed = prefixed[: prefixed.rindex("</v:RESOURCE>")] + "</v:RESOURCE></v:VOTABLE>"
    raw = parse_table(prefixed.encode(), name="t", max_rows=5, max_columns=5)
    assert raw.cells == ["ż"]


def test_binary2_flags_count_for_strings_as_well() -> None:
    fields = [RawField({"name": n, "datatype": "char", "arraysize": "*"}) for n in "ab"]
    row = bytes([0b01000000]) + struct.pack(">I", 0) + struct.pack(">I1s", 1, b"x")
    raw = RawTable(fields, "binary2", [], row * 2)
    columns = read_columns(raw, name="t", max_rows=5)[1]
    assert [column.to_pylist() for column in columns] == [["", ""], [None, None]]


def test_wide_binary2_rows_use_every_flag_byte() -> None:
    fields = [RawField({"name": f"c{n}", "datatype": "short"}) for n in range(17)]
    values = np.arange(17, dtype=">i2").tobytes()
    raw = RawTable(fields, "binary2", [], bytes([0x80, 0x01, 0x80]) + values)
    columns = read_columns(raw, name="t", max_rows=5)[1]
    nulls = [n for n, column in enumerate(columns) if column.null_count]
    assert nulls == [0, 15, 16]
    assert columns[3].to_pylist() == [3]

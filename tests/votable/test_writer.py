"""A reader must get back what was written, in every serialization, and the schema must agree."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pytest
from astropy.io.votable import parse
from lxml import etree

from app.errors import StoreUnavailableError
from app.schema.batches import arrow_schema
from app.schema.fields import Field
from app.votable.descriptors import InputParameter, ServiceDescriptor
from app.votable.documents import write_error
from app.votable.markup import Info
from app.votable.writer import Serialization, empty_table, write_results
from tests.xsd import assert_valid_votable

SERIALIZATIONS: tuple[Serialization, ...] = ("td", "binary", "binary2")
NS = {"v": "http://www.ivoa.net/xml/VOTable/v1.3"}

FIELDS = (
    Field(name="s", kind="integer", datatype="short"),
    Field(name="i", kind="integer", datatype="int"),
    Field(name="l", kind="integer", datatype="long", unit="byte", ucd="phys.size;meta.file"),
    Field(name="f", kind="real", datatype="float"),
    Field(name="d", kind="real", datatype="double", unit="deg", description="a < b & c"),
    Field(name="b", kind="boolean", datatype="boolean"),
    Field(name="c", kind="text", datatype="char", arraysize="*"),
    Field(name="u", kind="text", datatype="unicodeChar", arraysize="*"),
    Field(name="fixed", kind="text", datatype="char", arraysize="4"),
    Field(name="t", kind="timestamp", datatype="char", arraysize="*", xtype="timestamp"),
    Field(name="p", kind="point", datatype="double", arraysize="2", xtype="point"),
    Field(name="poly", kind="region", datatype="double", arraysize="*", xtype="polygon"),
)
ROWS = {
    "s": [1, None, -32767],
    "i": [2, None, 2**31 - 1],
    "l": [2**53 + 1, None, -(2**62)],
    "f": [1.5, None, math.inf],
    "d": [0.1, None, -1e-300],
    "b": [True, None, False],
    "c": ['a<b>&"c"', None, "]]>\r\n\ttab"],
    "u": ["Müller 銀河 \U0001f52d", None, "plain"],
    "fixed": ["abcd", None, "xy"],
    "t": ["2026-01-02T03:04:05.6", None, "2026-01-02T03:04:05"],
    "p": ["10.5 -20.25", None, "0 90"],
    "poly": ["1 2 3 4 5 6", None, "1.5 2.5"],
}


def _batch(
    rows: dict[str, list[object]] = ROWS, fields: tuple[Field, ...] = FIELDS
) -> pa.RecordBatch:
    schema = arrow_schema(fields)
    arrays = [pa.array(rows[f.name], t.type) for f, t in zip(fields, schema, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _document(serialization: Serialization, *batches: pa.RecordBatch, maxrec: int = 100) -> bytes:
    return b"".join(write_results(FIELDS, batches, maxrec=maxrec, serialization=serialization))


@pytest.mark.parametrize("serialization", SERIALIZATIONS)
def test_astropy_reads_back_equal_values(serialization: Serialization) -> None:
    document = _document(serialization, _batch())
    assert_valid_votable(document)
    table = parse(io.BytesIO(document)).get_first_table().array
    for name in ("s", "i", "l", "f", "d"):
        assert table[name].mask.tolist() == [False, True, False], name
        for row in (0, 2):
            expected = np.float32(ROWS[name][row]) if name == "f" else ROWS[name][row]
            assert table[name][row] == expected, (name, row)
    assert table["b"].mask.tolist() == [False, True, False]
    assert [bool(table["b"][0]), bool(table["b"][2])] == [True, False]
    for name in ("c", "u", "fixed", "t"):
        assert [str(table[name][row]) for row in (0, 2)] == [ROWS[name][0], ROWS[name][2]], name
        assert name == "fixed" or table[name][1] in ("", None, np.ma.masked)
    assert np.asarray(table["p"][0]).tolist() == [10.5, -20.25]
    assert np.asarray(table["p"][2]).tolist() == [0, 90]
    assert np.asarray(table["poly"][0]).tolist() == [1, 2, 3, 4, 5, 6]
    assert np.asarray(table["poly"][2]).tolist() == [1.5, 2.5]


@pytest.mark.parametrize("serialization", SERIALIZATIONS)
def test_many_batches_of_odd_sizes_are_one_table(serialization: Serialization) -> None:
    fields = (FIELDS[2], FIELDS[6])
    batches = [
        _batch({"l": list(range(a, b)), "c": [f"<{n}>" * (n % 7) for n in range(a, b)]}, fields)
        for a, b in ((0, 1), (1, 1), (1, 3), (3, 1000), (1000, 1001))
    ]
    document = b"".join(write_results(fields, batches, maxrec=2000, serialization=serialization))
    table = parse(io.BytesIO(document)).get_first_table().array
    assert table["l"].tolist() == list(range(1001))
    assert [str(c) for c in table["c"]] == [f"<{n}>" * (n % 7) for n in range(1001)]


@pytest.mark.parametrize("serialization", SERIALIZATIONS)
def test_slices_are_written_as_sliced(serialization: Serialization) -> None:
    document = _document(serialization, _batch().slice(2, 1))
    table = parse(io.BytesIO(document)).get_first_table().array
    assert len(table) == 1
    assert str(table["u"][0]) == "plain"
    assert table["l"][0] == -(2**62)


@pytest.mark.parametrize("serialization", SERIALIZATIONS)
@pytest.mark.parametrize(("maxrec", "rows"), [(0, 0), (2, 2), (3, 3), (4, 3)])
def test_only_real_truncation_is_flagged(
    serialization: Serialization, maxrec: int, rows: int
) -> None:
    root = assert_valid_votable(_document(serialization, _batch(), maxrec=maxrec))
    before = [
        e.get("value") for e in root.xpath("//v:RESOURCE/v:TABLE/preceding::v:INFO", namespaces=NS)
    ]
    after = [
        e.get("value") for e in root.xpath("//v:TABLE/following-sibling::v:INFO", namespaces=NS)
    ]
    assert before == ["OK"]
    assert after == (["OVERFLOW"] if maxrec < 3 else [])
    document = etree.tostring(root)
    assert len(parse(io.BytesIO(document)).get_first_table().array) == rows


def _failing(error: Exception) -> Iterator[pa.RecordBatch]:
    yield _batch()
    raise error


@pytest.mark.parametrize("serialization", SERIALIZATIONS)
def test_a_late_error_ends_the_document_well(serialization: Serialization) -> None:
    chunks = write_results(
        FIELDS,
        _failing(StoreUnavailableError("gone <away>")),
        maxrec=10,
        serialization=serialization,
        describe_error=lambda error: f"TransientFault: {error}",
    )
    root = assert_valid_votable(b"".join(chunks))
    infos = root.xpath("//v:TABLE/following-sibling::v:INFO", namespaces=NS)
    assert [(i.get("value"), i.text) for i in infos] == [
        ("ERROR", "TransientFault: The database does not answer: gone <away>")
    ]
    table = parse(io.BytesIO(etree.tostring(root))).get_first_table().array
    assert len(table) == 3


def test_a_late_error_is_raised_when_nobody_describes_it() -> None:
    chunks = write_results(FIELDS, _failing(StoreUnavailableError("gone")), maxrec=10)
    with pytest.raises(StoreUnavailableError):
        b"".join(chunks)


def test_an_early_error_comes_before_any_byte() -> None:
    def broken() -> Iterator[pa.RecordBatch]:
        raise StoreUnavailableError("gone")
        yield

    chunks = write_results(FIELDS, broken(), maxrec=10, describe_error=str)
    with pytest.raises(StoreUnavailableError):
        next(chunks)


def test_hanging_up_closes_the_source() -> None:
    closed = []

    def source() -> Iterator[pa.RecordBatch]:
        try:
            while True:
                yield _batch()
        finally:
            closed.append(True)

    chunks = write_results(FIELDS, source(), maxrec=10**9)
    for _ in range(5):
        next(chunks)
    chunks.close()
    assert closed == [True]


def test_infos_descriptors_and_field_ids() -> None:
    descriptor = ServiceDescriptor(
        resource_id="links",
        access_url="http://example.org/links?a=1&b=2",
        standard_id="ivo://ivoa.net/std/DataLink#links-1.1",
        inputs=(
            InputParameter(name="ID", ref="c"),
            InputParameter(
                name="N", datatype="int", arraysize=None, value="1", minimum="0", maximum="9"
            ),
        ),
    )
    document = b"".join(
        write_results(
            FIELDS,
            [_batch()],
            maxrec=9,
            infos=[Info("query", 'SELECT "x" < 1')],
            descriptors=[descriptor],
        )
    )
    root = assert_valid_votable(document)
    assert root.xpath("//v:INFO[@name='query']/@value", namespaces=NS) == ['SELECT "x" < 1']
    assert root.xpath("//v:FIELD[@ID]/@name", namespaces=NS) == ["c"]
    votable = parse(io.BytesIO(document))
    assert votable.resources[1].utype == "adhoc:service"


def test_control_characters_do_not_break_the_document() -> None:
    fields = (FIELDS[6],)
    batch = _batch({"c": ["a\x00b\x0bc\ufffe"]}, fields)
    root = assert_valid_votable(b"".join(write_results(fields, [batch], maxrec=9)))
    assert root.xpath("//v:TD/text()", namespaces=NS) == ["a\ufffdb\ufffdc\ufffd"]


@pytest.mark.parametrize("serialization", SERIALIZATIONS)
def test_text_outside_ascii_in_a_char_column(serialization: Serialization) -> None:
    fields = (FIELDS[6],)
    batch = _batch({"c": ["Gródek", "x"]}, fields)
    document = b"".join(write_results(fields, [batch], maxrec=9, serialization=serialization))
    table = parse(io.BytesIO(document)).get_first_table().array
    assert [str(c) for c in table["c"]] == ["Gródek", "x"]


def test_text_outside_ascii_that_comes_late_is_told() -> None:
    fields = (FIELDS[6],)
    batches = [_batch({"c": ["x"]}, fields), _batch({"c": ["ż"]}, fields)]
    document = b"".join(write_results(fields, batches, maxrec=9, serialization="binary2"))
    root = assert_valid_votable(document)
    table = parse(io.BytesIO(document)).get_first_table().array
    assert [str(c) for c in table["c"]] == ["x", "?"]
    assert root.xpath("//v:INFO[@name='warning']/@value", namespaces=NS) == ["c"]


def test_not_a_number_is_not_null() -> None:
    fields = (FIELDS[4],)
    batch = _batch({"d": [math.nan, -math.inf]}, fields)
    root = assert_valid_votable(b"".join(write_results(fields, [batch], maxrec=9)))
    assert root.xpath("//v:TD/text()", namespaces=NS) == ["NaN", "-Inf"]


def test_small_documents_are_valid() -> None:
    error = assert_valid_votable(write_error('UsageFault: no "such" <thing>'))
    (info,) = error.xpath("//v:INFO", namespaces=NS)
    assert (info.get("value"), info.text) == ("ERROR", 'UsageFault: no "such" <thing>')
    assert_valid_votable(empty_table(FIELDS).encode())

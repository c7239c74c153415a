"""TAP_UPLOAD over HTTP: every serialization and type, by form item and by address, and refusals."""

from __future__ import annotations

import base64
import csv
import io
import subprocess
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import httpx
import numpy as np
import pytest
from astropy.io.votable import from_table, parse
from astropy.io.votable.tree import TableElement
from astropy.table import MaskedColumn, Table

from app.errors import UploadError
from app.stores.downloads import MAX_REDIRECTS, Downloads
from app.stores.results import ResultStore
from tests.http.archive import Archive, make_uploads
from tests.jobs import phase_at_end
from tests.xsd import assert_valid_votable

FORMATS = ("tabledata", "binary", "binary2")


def votable(table: Table, form: str = "tabledata") -> bytes:
    written = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        document = from_table(table)
        for field in document.get_first_table().fields:
            if form == "binary" and field.datatype in ("short", "int", "long", "unsignedByte"):
                field.values.null = 99  # BINARY has no other NULL for integers
        document.to_xml(written, tabledata_format=form)
    return written.getvalue()


def make_table() -> Table:
    """A column of each type, each with a NULL where the type has one."""
    mask = [False, True, False]
    table = Table(
        {
            "d_short": MaskedColumn(np.array([1, 0, -32768 + 1], "i2"), mask=mask),
            "d_int": MaskedColumn(np.array([10, 0, -5], "i4"), mask=mask),
            "d_long": MaskedColumn(np.array([2**53 + 1, 0, -(2**62)], "i8"), mask=mask),
            "d_byte": MaskedColumn(np.array([255, 0, 1], "u1"), mask=mask),
            "d_float": MaskedColumn(np.array([0.1, np.nan, np.inf], "f4"), mask=mask),
            "d_double": MaskedColumn(np.array([1 / 3, np.nan, -1e300]), mask=mask),
            "d_flag": np.array([True, False, True]),
            "d_text": np.array(["a & <b>", "", "c"], dtype=object),
            "d_wide": np.array(["ż", "", "日本"], dtype=object),
            "flags": np.array([[True, False], [False, False], [False, True]]),
            "vector": np.arange(6, dtype="f8").reshape(3, 2) / 3,
            "z_float": np.array([0.1 - 2j, complex("nan+nanj"), 3], "c8"),
            "z_double": np.array([[1 / 3 + 1e300j, 2], [3, 4j], [5, 6]]),
        }
    )
    table["d_double"].unit = "mJy"
    table["d_double"].description = "A flux"
    table["d_double"].meta["ucd"] = "phot.flux"
    return table


TRUTHS = """<VOTABLE version="1.4"><RESOURCE><TABLE>
<FIELD name="three" datatype="boolean" arraysize="3"/><FIELD name="any" datatype="boolean" \
arraysize="*"/><FIELD name="bits" datatype="bit" arraysize="9"/><FIELD name="more" datatype="bit" \
arraysize="*"/><DATA>{}</DATA></TABLE></RESOURCE></VOTABLE>"""
TRUTH_ROWS = (
    b"T?F" + b"\0\0\0\2" + b"FT" + b"\xa0\x80" + b"\0\0\0\x0a" + b"\x80\x40",
    b" \0?" + b"\0\0\0\0" + b"\0\0" + b"\0\0\0\3" + b"\xe0",
)


def packed(tag: str, flags: bytes) -> str:
    stream = base64.b64encode(b"".join(flags + row for row in TRUTH_ROWS)).decode()
    return f'<{tag}><STREAM encoding="base64">{stream}</STREAM></{tag}>'


@pytest.mark.parametrize("output", ["votable", "votable/b", "votable/b2", "json", "csv"])
@pytest.mark.parametrize(
    "data",
    [
        "<TABLEDATA><TR><TD>T ? false</TD><TD>0 1</TD><TD>101000001</TD><TD>10000 00001</TD></TR>"
        "<TR><TD/><TD/><TD>000000000</TD><TD>111</TD></TR></TABLEDATA>",
        packed("BINARY", b""),
        packed("BINARY2", b"\0"),
    ],
    ids=FORMATS,
)
def test_arrays_of_booleans_and_bits_come_back(
    client: httpx.Client, data: str, output: str
) -> None:
    files = {"t1": ("t1", TRUTHS.format(data).encode())}
    asked = {"QUERY": "SELECT * FROM TAP_UPLOAD.t1", "LANG": "ADQL", "UPLOAD": "t1,param:t1"}
    answer = client.post("/tap/sync", data={**asked, "FORMAT": output}, files=files)
    wanted = [
        ["T ? F", "F T", "T F T F F F F F T", "T F F F F F F F F T"],
        ["", "", "F F F F F F F F F", "T T T"],
    ]
    if output == "csv":
        assert list(csv.reader(io.StringIO(answer.text)))[1:] == wanted
        return
    truths = [
        [[{"T": True, "F": False}.get(w) for w in cell.split()] or None for cell in row]
        for row in wanted
    ]
    if output == "json":
        assert answer.json()["data"] == truths
        return
    table = read(answer)
    assert [f.arraysize for f in table.fields] == ["3", "*", "9", "*"]
    for name, expected in zip(table.array.dtype.names, zip(*truths, strict=True), strict=True):
        for value, values in zip(table.array[name], expected, strict=True):
            known = np.ma.masked_array(value).compressed().tolist()
            assert known == [v for v in values or [] if v is not None]


def ask(client: httpx.Client, query: str, *, path: str = "/tap/sync", **tables: bytes) -> Any:
    """A query with inline tables."""
    named = ";".join(f"{name},param:item_{name}" for name in tables)
    files = {f"item_{name}": (f"{name}.xml", content) for name, content in tables.items()}
    return client.post(path, data={"query": query, "Lang": "ADQL", "upload": named}, files=files)


def read(answer: httpx.Response) -> TableElement:
    assert answer.status_code == 200, answer.text
    assert_valid_votable(answer.content)
    return parse(io.BytesIO(answer.content), verify="exception").get_first_table()


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("output", ["votable", "votable/b2", "votable/b"])
def test_a_table_comes_back_as_it_went(client: httpx.Client, form: str, output: str) -> None:
    sent = make_table()
    document = votable(sent, form)
    files = {"t1": ("t1", document)}
    data = {"QUERY": "SELECT * FROM TAP_UPLOAD.t1", "LANG": "ADQL", "UPLOAD": "t1,param:t1"}
    table = read(client.post("/tap/sync", data={**data, "FORMAT": output}, files=files))
    fields = {field.name: field for field in table.fields}
    assert list(fields) == sent.colnames
    types = {name: field.datatype for name, field in fields.items()}
    assert [types[f"d_{n}"] for n in ("short", "int", "long", "byte", "float", "double")] == [
        "short",
        "int",
        "long",
        "short",
        "float",
        "double",
    ]
    assert types["d_flag"] == "boolean"
    assert (types["z_float"], types["z_double"]) == ("floatComplex", "doubleComplex")
    double = fields["d_double"]
    assert (str(double.unit), double.ucd, double.description) == ("mJy", "phot.flux", "A flux")
    for name in sent.colnames:
        if name in ("vector", "flags", "z_double"):
            assert np.array_equal(np.array(table.array[name].tolist()), sent[name])
            continue
        got, given = table.array[name], sent[name]
        for row in (0, 2):
            assert got[row] == given[row], name
        if name not in ("d_flag", "d_text", "d_wide"):
            assert got.mask[1], name


GEOMETRIES = """<VOTABLE version="1.4" xmlns="http://www.ivoa.net/xml/VOTable/v1.3">
<RESOURCE><TABLE>
<FIELD name="when" datatype="char" arraysize="*" xtype="timestamp"/>
<FIELD name="p" datatype="double" arraysize="2" xtype="point" unit="deg" ucd="pos.eq"/>
<FIELD name="o" datatype="float" arraysize="3" xtype="circle"/>
<FIELD name="a" datatype="double" arraysize="*" xtype="polygon"/>
<FIELD name="r" datatype="char" arraysize="*" xtype="adql:REGION"/>
<FIELD name="d_char" datatype="char"/>
<FIELD name="d_bit" datatype="bit"/>
<FIELD name="select" datatype="short" ID="x"><VALUES null="-99"/></FIELD>
<DATA><TABLEDATA>
<TR><TD>2026-01-02T03:04:05</TD><TD>10.01 0</TD><TD>10.01 0 0.5</TD>
<TD>9 -1 11 -1 11 1 9 1</TD><TD>CIRCLE ICRS 10.01 0 0.25</TD><TD>x</TD><TD>1</TD><TD>7</TD></TR>
<TR><TD/><TD/><TD/><TD/><TD/><TD/><TD>0</TD><TD>-99</TD></TR>
</TABLEDATA></DATA></TABLE></RESOURCE></VOTABLE>"""


def test_times_and_geometries_keep_their_kind(client: httpx.Client) -> None:
    table = read(ask(client, "SELECT * FROM TAP_UPLOAD.t", t=GEOMETRIES.encode()))
    fields = {field.name: field for field in table.fields}
    assert fields["when"].xtype == "timestamp"
    assert [fields[n].xtype for n in "poa"] == ["point", "circle", "polygon"]
    assert fields["select"].datatype == "short"
    row = table.array[0]
    assert row["when"] == "2026-01-02T03:04:05"
    assert row["p"].tolist() == [10.01, 0]
    assert np.allclose(row["o"], [10.01, 0, 0.5])
    assert row["a"].tolist() == [9, -1, 11, -1, 11, 1, 9, 1]
    assert table.array.mask["select"][1]
    query = (
        'SELECT CONTAINS(p, o), CONTAINS(p, r), "select", d_char '
        "FROM TAP_UPLOAD.t WHERE p IS NOT NULL"
    )
    assert list(read(ask(client, query, t=GEOMETRIES.encode())).array[0]) == [1, 1, 7, "x"]


def test_joins_with_images(client: httpx.Client) -> None:
    targets = Table({"id": [1, 2], "ra": [10.01, 200.0], "dec": [0.0, 50.0]})
    condition = "CONTAINS(POINT('ICRS', t.ra, t.dec), o.s_region) = 1"
    query = f"SELECT t.id, o.obs_id FROM TAP_UPLOAD.t AS t JOIN ivoa.ObsCore AS o ON {condition}"
    joined = read(ask(client, query, t=votable(targets)))
    assert set(joined.array["id"]) == {1}
    everywhere = client.get(
        "/tap/sync",
        params={
            "LANG": "ADQL",
            "QUERY": "SELECT obs_id FROM ivoa.ObsCore "
            "WHERE CONTAINS(POINT('ICRS', 10.01, 0.0), s_region) = 1",
        },
    )
    assert len(joined.array) == len(read(everywhere).array) >= 1


@pytest.mark.parametrize("alias", ["datalink", "sys_icrs", "my id", "column_2"])
def test_links_are_described_whatever_the_column_is_called(
    client: httpx.Client, alias: str
) -> None:
    query = f'SELECT s_ra, obs_publisher_did AS "{alias}", POINT(1, 2) AS p FROM ivoa.ObsCore'
    answer = client.get("/tap/sync", params={"LANG": "ADQL", "QUERY": query})
    root = assert_valid_votable(answer.content)
    (described,) = root.iterfind(".//{*}FIELD[@ID]")
    assert described.get("name") == alias
    parameters = list(root.iterfind(".//{*}GROUP/{*}PARAM"))
    ids = [each for each in parameters if each.get("name") == "ID"]
    assert len(ids) == 2  # links, cutouts
    assert {each.get("ref") for each in ids} == {described.get("ID")}
    assert all(each in ids for each in parameters if each.get("ref") is not None)


def test_two_tables_in_one_query(client: httpx.Client) -> None:
    a, b = Table({"k": [1, 2, 3]}), Table({"k": [2, 3, 4], "v": ["x", "y", "z"]})
    query = "SELECT b.v FROM TAP_UPLOAD.a JOIN TAP_UPLOAD.b ON a.k = b.k ORDER BY b.v"
    found = read(ask(client, query, a=votable(a), b=votable(b, "binary2")))
    assert list(found.array["v"]) == ["x", "y"]
    files = [("UPLOAD", (None, f"{n},param:{n}")) for n in "ab"]
    files += [("a", ("a", votable(a))), ("b", ("b", votable(b))), ("QUERY", (None, query))]
    again = read(client.post("/tap/sync", files=[*files, ("LANG", (None, "ADQL"))]))
    assert list(again.array["v"]) == ["x", "y"]


ONE = votable(Table({"k": [1]}))
HEAD = '<VOTABLE version="1.4"><RESOURCE><TABLE>'
TAIL = "</TABLE></RESOURCE></VOTABLE>"


def fields_of(*fields: str, data: str = "") -> bytes:
    return f"{HEAD}{''.join(f'<FIELD {f}/>' for f in fields)}<DATA>{data}</DATA>{TAIL}".encode()


WRONG = {
    "no XML": (b"a,b\n1,2\n", "a VOTable is needed, and this is not well-formed XML"),
    "not closed": (ONE[:-20], "not well-formed XML"),
    "another document": (b"<html/>", "XML of type html"),
    "no table": (b"<VOTABLE><RESOURCE/></VOTABLE>", "no TABLE with a FIELD"),
    "entities": (
        b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><VOTABLE>&b;</VOTABLE>',
        "document type",
    ),
    "a type": (fields_of('name="z" datatype="quaternion"'), "quaternion"),
    "half a complex number": (
        fields_of(
            'name="z" datatype="floatComplex"',
            data="<TABLEDATA><TR><TD>1</TD></TR></TABLEDATA>",
        ),
        "column z, row 1: '1' is no floatComplex",
    ),
    "no name": (fields_of('datatype="int"'), "column 1 has no name"),
    "one name twice": (
        fields_of('name="k" datatype="int"', 'name="K" datatype="int"'),
        "two columns",
    ),
    "too few booleans": (
        fields_of(
            'name="z" datatype="boolean" arraysize="2"',
            data="<TABLEDATA><TR><TD>T F</TD></TR><TR><TD>T</TD></TR></TABLEDATA>",
        ),
        "column z, row 2: 'T' is no boolean of arraysize 2",
    ),
    "a bit": (
        fields_of(
            'name="z" datatype="bit" arraysize="*"',
            data="<TABLEDATA><TR><TD>012</TD></TR></TABLEDATA>",
        ),
        "column z, row 1: '012' is no bit of arraysize *",
    ),
    "an arraysize": (fields_of('name="z" datatype="int" arraysize="many"'), "'many'"),
    "nothing in an array": (fields_of('name="z" datatype="int" arraysize="0"'), "'0'"),
    "a value": (
        fields_of(
            'name="z" datatype="short"',
            data="<TABLEDATA><TR><TD>1</TD></TR><TR><TD>40000</TD></TR></TABLEDATA>",
        ),
        "column z, row 2: '40000' is no short",
    ),
    "too few cells": (
        fields_of(
            'name="y" datatype="short"',
            'name="z" datatype="short"',
            data="<TABLEDATA><TR><TD>1</TD></TR></TABLEDATA>",
        ),
        "row 1 has 1 cells, not 2",
    ),
    "data elsewhere": (
        fields_of(
            'name="z" datatype="short"',
            data='<BINARY><STREAM href="file:///etc/passwd"/></BINARY>',
        ),
        "lie elsewhere",
    ),
    "half a row": (
        fields_of(
            'name="z" datatype="int"',
            data='<BINARY2><STREAM encoding="base64">AAAAAAEAAA==</STREAM></BINARY2>',
        ),
        "end in the middle of row 2",
    ),
    "a stream that is no base64": (
        fields_of(
            'name="z" datatype="int"',
            data='<BINARY2><STREAM encoding="base64">&lt;!!&gt;</STREAM></BINARY2>',
        ),
        "no base64 text",
    ),
    "FITS": (
        fields_of('name="z" datatype="int"', data='<FITS><STREAM encoding="base64"/></FITS>'),
        "FITS inside a VOTable",
    ),
    "a crossed polygon": (
        fields_of(
            'name="c" datatype="double" arraysize="*" xtype="polygon"',
            data="<TABLEDATA><TR><TD>0 0 2 2 2 0 0 2</TD></TR></TABLEDATA>",
        ),
        "column c, row 1",
    ),
    "a circle": (
        fields_of(
            'name="c" datatype="double" arraysize="3" xtype="circle"',
            data="<TABLEDATA><TR><TD>1 100 3</TD></TR></TABLEDATA>",
        ),
        "column c, row 1",
    ),
}


@pytest.mark.parametrize("document", WRONG)
def test_a_wrong_table_is_explained(client: httpx.Client, document: str) -> None:
    content, reason = WRONG[document]
    answer = ask(client, "SELECT * FROM TAP_UPLOAD.wrong", wrong=content)
    assert answer.status_code == 400
    assert_valid_votable(answer.content)
    (status,) = parse(io.BytesIO(answer.content)).resources[0].infos
    assert status.value == "ERROR"
    assert "Upload wrong: " in status.content and reason in status.content


@pytest.mark.parametrize(
    ("upload", "reason"),
    [
        ("t1", "not of the form"),
        ("t1,file:///etc/passwd", "name,URL (http or https)"),
        ("a.b,param:t1", "no table name"),
        ('"t 1",param:t1', "no table name"),
        ("select,param:t1", "reserved word"),
        ("t1,param:t1;T1,param:t1", "two tables are called T1"),
        ("t1,param:other", "no form item 'other'"),
        ("a,param:t1;b,param:t1;c,param:t1;d,param:t1", "limit of uploaded tables is 3"),
    ],
)
def test_a_wrong_upload_parameter_is_explained(
    client: httpx.Client, upload: str, reason: str
) -> None:
    data = {"QUERY": "SELECT * FROM TAP_UPLOAD.t1", "LANG": "ADQL", "UPLOAD": upload}
    answer = client.post("/tap/sync", data=data, files={"t1": ("t1", ONE)})
    assert answer.status_code == 400 and reason in answer.text


def test_limits_are_told(client: httpx.Client) -> None:
    rows = votable(Table({"k": np.arange(2001)}), "binary")
    answer = ask(client, "SELECT * FROM TAP_UPLOAD.t", t=rows)
    assert "limit of rows in an uploaded table is 2000; asked for 2001" in answer.text
    columns = votable(Table({f"c{n}": [1] for n in range(21)}))
    answer = ask(client, "SELECT * FROM TAP_UPLOAD.t", t=columns)
    assert "limit of columns in an uploaded table is 20" in answer.text
    answer = ask(client, "SELECT * FROM TAP_UPLOAD.t", t=ONE + b" " * 1_000_000)
    assert "limit of bytes in uploaded tables is 1000000" in answer.text
    answer = ask(client, "SELECT * FROM TAP_UPLOAD.t", t=ONE + b" " * 6_000_000)
    assert answer.status_code == 400 and "limit of bytes in the body" in answer.text


def test_a_query_is_judged_with_its_tables(client: httpx.Client) -> None:
    query = "SELECT k, kk FROM TAP_UPLOAD.t"
    found = ask(client, query, path="/tap/validate", t=ONE).json()
    assert not found["valid"] and "kk" in found["message"]
    found = ask(client, query.replace(", kk", ""), path="/tap/validate", t=ONE).json()
    assert found["valid"] and [column["name"] for column in found["columns"]] == ["k"]


@pytest.mark.needs("stilts")
@pytest.mark.parametrize("output", ["votable", "votable/b", "votable/b2"])
def test_votlint_takes_what_was_uploaded(client: httpx.Client, tmp_path: Path, output: str) -> None:
    sent = make_table()
    sent["whole"] = np.arange(6, dtype="i4").reshape(3, 2)
    shapes = GEOMETRIES.replace("<TD/><TD/><TD/><TD/>", "<TD/><TD/><TD>NaN NaN NaN</TD><TD/>")
    # Without the polygon: votlint 3.4.7 misreads it in binary form (tests/flows/test_votlint.py).
    asked = {'SELECT "when", p, o, r, d_bit, "select" FROM TAP_UPLOAD.t': shapes.encode()}
    asked["SELECT t.* FROM TAP_UPLOAD.t"] = votable(sent)
    for number, (query, document) in enumerate(asked.items()):
        form = {"QUERY": query, "LANG": "ADQL", "UPLOAD": "t,param:t", "FORMAT": output}
        path = tmp_path / f"{number}.xml"
        path.write_bytes(client.post("/tap/sync", data=form, files={"t": document}).content)
        report = subprocess.run(
            ["stilts", "votlint", f"votable={path}"], capture_output=True, text=True, check=False
        )
        assert "ERROR" not in report.stdout and report.returncode == 0, report.stdout


# -- by address -------------------------------------------------------------------------------


class _Files(BaseHTTPRequestHandler):
    """``/table``: a table; ``/hops/n``: n redirects to it; ``/to/ADDRESS``: a redirect there."""

    asked: ClassVar[list[Any]] = []

    def do_GET(self) -> None:
        self.asked.append(self.headers)
        if self.path.startswith("/hops/") and self.path != "/hops/0":
            self._redirect(f"/hops/{int(self.path.rpartition('/')[2]) - 1}")
        elif self.path.startswith("/to/"):
            self._redirect(self.path.removeprefix("/to/"))
        elif self.path == "/missing":
            self.send_error(404)
        else:
            body = b"x" * 1_000_001 if self.path == "/long" else ONE
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def _redirect(self, url: str) -> None:
        self.send_response(302)
        self.send_header("Location", url)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def files_server() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Files)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="module")
def files() -> Iterator[str]:
    with files_server() as url:
        yield url


def ask_for(client: httpx.Client, url: str) -> httpx.Response:
    data = {"QUERY": "SELECT k FROM TAP_UPLOAD.t", "LANG": "ADQL", "UPLOAD": f"t,{url}"}
    return client.post("/tap/sync", data=data)


def test_a_table_by_its_address(client: httpx.Client, files: str) -> None:
    for path in ("/table", f"/hops/{MAX_REDIRECTS}", "/table?a=1;b=2,3"):
        assert list(read(ask_for(client, files + path)).array["k"]) == [1]
    assert all("Authorization" not in headers for headers in _Files.asked)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/missing", "answers with status 404"),
        (f"/hops/{MAX_REDIRECTS + 1}", "redirects more than"),
        ("/long", "limit of bytes"),
        ("/to/file:///etc/passwd", "no http or https address"),
        ("/to/gopher://127.0.0.1/", "no http or https address"),
        ("/to/http://10.0.0.1/", "not public"),
        ("/to///10.0.0.1/", "not public"),
        ("/to/http://localhost/", "not public"),
        ("/to/http://2130706433/", "not public"),
        ("/to/http://[::1]/", "not public"),
        ("/to/http://user:secret@127.0.0.1/", "user name or password"),
    ],
)
def test_an_address_that_gives_no_table(
    client: httpx.Client, files: str, path: str, reason: str
) -> None:
    answer = ask_for(client, files + path)
    assert answer.status_code == 400 and reason in answer.text


def test_a_host_is_trusted_with_its_port_alone(files: str) -> None:
    port = int(files.rpartition(":")[2])
    trusting = {
        trusted: Downloads(max_bytes=10_000, time_limit_s=60, hosts=[f"127.0.0.1:{trusted}"])
        for trusted in (port, port + 1)
    }
    assert trusting[port].fetch(f"{files}/table", name="t") == ONE
    with pytest.raises(UploadError, match="not public"):
        trusting[port + 1].fetch(f"{files}/table", name="t")


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "10.1.2.3",
        "192.168.0.1",
        "169.254.169.254",
        "0.0.0.0",
        "LOCALHOST",
        "0",
        "127.1",
        "2130706433",
        "0x7f000001",
        "224.0.0.1",
        "255.255.255.255",
        "192.0.2.1",
        "[::]",
        "[::1]",
        "[0:0:0:0:0:0:0:1]",
        "[::127.0.0.1]",
        "[fe80::1]",
        "[fec0::1]",
        "[fd00::1]",
        "[::ffff:10.0.0.1]",
        "[::ffff:7f00:1]",
        "[2001:0:a00:1::f5ff:fffe]",
        "[64:ff9b::a00:1]",
        "[64:ff9b:1::a00:1]",
        "[2002:a00:1::]",
        "100.64.0.1",
    ],
)
def test_private_addresses_are_never_reached(client: httpx.Client, host: str) -> None:
    answer = ask_for(client, f"http://{host}/t.xml")
    assert answer.status_code == 400 and "not public" in answer.text


@pytest.mark.parametrize(
    "host", ["0177.0.0.1", "%31%32%37.0.0.1", "１２７.0.0.1", "127.0.0.1%00.a"]
)
def test_odd_spellings_of_addresses_lead_nowhere(
    client: httpx.Client, files: str, host: str
) -> None:
    before = len(_Files.asked)
    answer = ask_for(client, files.replace("127.0.0.1", host) + "/table")
    assert answer.status_code == 400 and len(_Files.asked) == before


# -- jobs -------------------------------------------------------------------------------------


def test_a_job_keeps_its_tables(archive: Archive, client: httpx.Client) -> None:
    created = ask(client, "SELECT k FROM TAP_UPLOAD.t1", path="/tap/async", t1=ONE)
    assert created.status_code == 303
    job = created.headers["location"]
    assert "t1,param:item_t1" in client.get(f"{job}/parameters").text
    folder = next((archive.data_dir / "results").glob(job.rpartition("/")[2]))
    assert list(folder.iterdir())
    other = votable(Table({"k": [41]}))
    client.post(f"{job}/parameters", files={"item_t1": ("t1", other)})
    restarted = make_uploads(ResultStore(data_dir=archive.data_dir))
    (kept,) = restarted.load_kept(archive.jobs.get(job.rpartition("/")[2]))
    assert kept.rows.to_pydict() == {"c1": [41]}
    client.post(f"{job}/phase", data={"PHASE": "RUN"})
    assert phase_at_end(job, client) == "COMPLETED"
    assert list(read(client.get(f"{job}/results/result")).array["k"]) == [41]
    client.delete(job)
    assert not folder.exists()

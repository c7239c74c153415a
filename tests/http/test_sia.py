"""SIA 2.0 as clients ask it, from one archive on SQLite."""

from __future__ import annotations

import csv
import io
import json
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet
import pytest
import pyvo
from astropy.io.votable import parse
from astropy.table import Table

from app.schema.obscore import OBSCORE
from app.services.formats import FORMATS
from tests.http.archive import DATALINK, Archive
from tests.http.test_uploads import votable
from tests.machine import SHARED
from tests.xsd import assert_valid_availability, assert_valid_capabilities, assert_valid_votable

STANDARD = "ivo://ivoa.net/std/SIA#query-2.0"
XSI_TYPE = "{http://www.w3.org/2001/XMLSchema-instance}type"
DIDS = [
    *(f"ivo://skyloom.test/demo?Visit-{n}" for n in range(3)),
    "ivo://skyloom.test/products?template/1",
]
PARAMETERS = [
    *("POS", "BAND", "TIME", "POL", "FOV", "SPATRES", "SPECRP", "EXPTIME", "TIMERES", "ID"),
    *("COLLECTION", "FACILITY", "INSTRUMENT", "DPTYPE", "DPSUBTYPE", "CALIB", "TARGET", "FORMAT"),
    *("MAXREC", "RESPONSEFORMAT", "UPLOAD"),
]

FILE = SHARED / "conformance/protocol/param_values.json"
CASES: list[dict[str, Any]] = [
    case
    for case in (json.loads(FILE.read_text()) if FILE.exists() else [])
    if case["param"] in PARAMETERS
]


def ask(client: httpx.Client, **asked: Any) -> httpx.Response:
    return client.get("/sia/query", params=asked)


def table_of(answer: httpx.Response) -> Table:
    assert answer.status_code == 200, answer.text
    assert_valid_votable(answer.content)
    return parse(io.BytesIO(answer.content)).get_first_table().to_table()


def dids(answer: httpx.Response) -> list[str]:
    return sorted(str(did) for did in table_of(answer)["obs_publisher_did"])


def statuses(answer: httpx.Response) -> list[tuple[str, str]]:
    root = assert_valid_votable(answer.content)
    infos = root.xpath("//*[local-name()='INFO'][@name='QUERY_STATUS']")
    return [(str(info.get("value")), info.text or "") for info in infos]


@pytest.mark.needs("shared")
@pytest.mark.parametrize("case", CASES or [{}], ids=lambda c: f"{c.get('param')}={c.get('value')}")
def test_values_of_the_collection(client: httpx.Client, case: dict[str, Any]) -> None:
    answer = ask(client, **{case["param"]: case["value"]})
    ((status, text),) = statuses(answer)
    if case["valid"]:
        assert (answer.status_code, status) == (200, "OK"), text
    else:
        assert (answer.status_code, status) == (400, "ERROR")
        assert text.startswith(f"UsageFault: Parameter {case['param']}: ")


def test_all_columns_of_obscore_and_what_was_asked(client: httpx.Client) -> None:
    answer = ask(client, POS="CIRCLE 10 0 0.01", TIME=["60000 60001", "60005"], pol="I", other="x")
    assert table_of(answer).colnames == [field.name for field in OBSCORE.fields]
    root = assert_valid_votable(answer.content)
    infos = [(i.get("name"), i.get("value")) for i in root.xpath("//*[local-name()='INFO']")]
    assert infos == [
        ("QUERY_STATUS", "OK"),
        ("standardID", STANDARD),
        ("POS", "CIRCLE 10 0 0.01"),
        ("TIME", "60000 60001"),
        ("TIME", "60005"),
        ("POL", "I"),
    ]


@pytest.mark.parametrize("send", ["query", "urlencoded", "multipart"])
def test_parameters_may_come_in_any_way(client: httpx.Client, send: str) -> None:
    asked = {"pos": "CIRCLE 9.905 0 0.001", "Calib": ["2", "3"], "MAXREC": "10"}
    if send == "query":
        answer = client.get("/sia/query", params=asked)
    elif send == "urlencoded":
        answer = client.post("/sia/query", data=asked)
    else:
        boundary = {"nothing": ("", b"")}
        answer = client.post("/sia/query", data=asked, files=boundary)
    assert dids(answer) == [DIDS[0], DIDS[3]]


def test_head_tells_what_get_would(client: httpx.Client) -> None:
    head = client.head("/sia/query", params={"RESPONSEFORMAT": "csv", "MAXREC": "1"})
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-type"] == "text/csv;header=present"
    assert client.head("/sia/query", params={"POS": "nowhere"}).status_code == 400


@pytest.mark.parametrize(
    ("asked", "rows", "status"),
    [("0", 0, ["OK"]), ("1", 1, ["OK", "OVERFLOW"]), ("4", 4, ["OK"]), ("99999", 4, ["OK"])],
)
def test_maxrec(client: httpx.Client, asked: str, rows: int, status: list[str]) -> None:
    answer = ask(client, MAXREC=asked)
    assert len(table_of(answer)) == rows
    assert [value for value, _ in statuses(answer)] == status


@pytest.mark.parametrize("output", FORMATS.formats, ids=lambda f: f.name)
@pytest.mark.parametrize("maxrec", ["0", "9"])
def test_every_format(client: httpx.Client, output: Any, maxrec: str) -> None:
    answer = ask(client, RESPONSEFORMAT=output.names[0], MAXREC=maxrec)
    assert (answer.status_code, answer.headers["content-type"]) == (200, output.media_type)
    count = len(DIDS) if maxrec == "9" else 0
    if output.names[0] in ("csv", "tsv"):
        comma = "," if output.names[0] == "csv" else "\t"
        header, *rows = csv.reader(io.StringIO(answer.text), delimiter=comma)
        assert header == [field.name for field in OBSCORE.fields]
        assert len(rows) == count
    elif output.names[0] == "parquet":
        assert pyarrow.parquet.read_table(io.BytesIO(answer.content)).num_rows == count
    elif output.names[0] == "json":
        assert len(answer.json()["data"]) == count
    else:
        kind = "fits" if output.names[0] == "fits" else "votable"
        assert len(Table.read(io.BytesIO(answer.content), format=kind)) == count


def test_format_asks_for_images_and_responseformat_for_a_table(client: httpx.Client) -> None:
    assert dids(ask(client, FORMAT=DATALINK)) == DIDS
    assert len(table_of(ask(client, FORMAT="csv"))) == 0
    both = ask(client, FORMAT=DATALINK, RESPONSEFORMAT="csv", ID=DIDS[1].upper())
    assert len(list(csv.reader(io.StringIO(both.text)))) == 2


def test_the_answer_describes_the_search_the_links_and_cutouts(client: httpx.Client) -> None:
    for maxrec in ("0", "2"):
        votable_file = parse(io.BytesIO(ask(client, MAXREC=maxrec).content))
        services = {r.name or r.ID: r for r in votable_file.resources if r.type == "meta"}
        assert set(services) == {"this", "datalink", "soda-sync"}
        this = {p.name: p.value for p in services["this"].params}
        assert this["standardID"] == STANDARD
        assert this["accessURL"] == f"{str(client.base_url).rstrip('/')}/sia/query"
        (inputs,) = services["this"].groups
        assert [p.name for p in inputs.entries] == PARAMETERS
        assert {p.name: p.unit for p in inputs.entries if p.unit} == {
            **{"POS": "deg", "BAND": "m", "TIME": "d", "FOV": "deg", "SPATRES": "arcsec"},
            **{"EXPTIME": "s", "TIMERES": "s"},
        }
        for name in ("datalink", "soda-sync"):
            entries = services[name].groups[0].entries
            assert [p.name for p in entries if p.ref == "obs_publisher_did"] == ["ID"]


def test_a_list_of_positions(client: httpx.Client) -> None:
    def found(table: Table, **more: Any) -> list[str]:
        asked = {"UPLOAD": "mine,param:list", **more}
        return dids(client.post("/sia/query", data=asked, files={"list": votable(table)}))

    edges = Table({"ra": [9.905, 10.119, 50.0, 9.905], "dec": [0.0, 0.0, 0.0, 0.0]})
    assert found(edges) == [DIDS[0], DIDS[2], DIDS[3]]
    assert found(edges, CALIB="3") == [DIDS[3]]
    assert found(edges[2:3]) == []
    assert found(edges[:0]) == []
    assert found(edges[2:3], POS="CIRCLE 10.119 0 0") == [DIDS[2]]
    wide = Table({"RA": [10.125, 50.0], "DEC": [0.0, 0.0], "radius": [0.01, 0.0]})
    assert found(wide) == [DIDS[2]]


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({"x": [1.0]}, "no column of numbers called ra"),
        ({"ra": [1.0], "dec": [91.0]}, "row 1"),
        ({"ra": [1.0], "dec": [0.0], "radius": [-2.0]}, "the radius -2.0"),
    ],
)
def test_a_list_that_is_none(client: httpx.Client, columns: Any, told: str) -> None:
    files = {"list": votable(Table(columns))}
    answer = client.post("/sia/query", data={"UPLOAD": "t,param:list"}, files=files)
    ((status, text),) = statuses(answer)
    assert (answer.status_code, status) == (400, "ERROR")
    assert text.startswith("UsageFault: Parameter UPLOAD: ") and told in text


def test_errors_are_documents_wherever_they_come_from(client: httpx.Client) -> None:
    for answer, fault in (
        (ask(client, MAXREC=["1", "2"]), "UsageFault: Parameter MAXREC may be given once only"),
        (ask(client, POS="CIRCLE 1 2 x"), "UsageFault: Parameter POS: 'CIRCLE 1 2 x': 'x' is not"),
        (client.get("/sia/nothing"), "NotFoundFault: "),
        (client.put("/sia/query"), "UsageFault: "),
    ):
        ((status, text),) = statuses(answer)
        assert status == "ERROR" and text.startswith(fault)


def test_capabilities(archive: Archive, client: httpx.Client) -> None:
    answer = client.get("/sia/capabilities")
    assert answer.headers["content-type"].startswith("text/xml")
    root = assert_valid_capabilities(answer.content)
    found = {element.get("standardID"): element for element in root}
    assert set(found) == {
        STANDARD,
        "ivo://ivoa.net/std/VOSI#capabilities",
        "ivo://ivoa.net/std/VOSI#availability",
        "ivo://ivoa.net/std/DataLink#links-1.1",
    }
    interface = found[STANDARD].find("interface")
    assert interface is not None and interface.get(XSI_TYPE) == "vs:ParamHTTP"
    assert (interface.get("role"), interface.get("version")) == ("std", "2.0")
    assert interface.findtext("accessURL") == f"{archive.url}/sia/query"
    for name in ("capabilities", "availability"):
        url = found[f"ivo://ivoa.net/std/VOSI#{name}"].findtext("interface/accessURL")
        assert client.get(str(url)).status_code == 200


def test_availability(client: httpx.Client) -> None:
    root = assert_valid_availability(client.get("/sia/availability").content)
    assert root.findtext("{*}available") == "true"


@pytest.mark.filterwarnings("ignore:Duplicate Operation ID")
def test_openapi_tells_the_parameters(client: httpx.Client) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    assert {"/sia/query", "/sia/capabilities", "/sia/availability"} <= set(paths)
    for method in ("get", "post"):
        told = paths["/sia/query"][method]["parameters"]
        assert [each["name"] for each in told] == PARAMETERS
        assert all(each["description"] for each in told)


@pytest.mark.filterwarnings("error")
def test_pyvo_finds_the_service_by_either_address(archive: Archive) -> None:
    for path in ("/sia", "/sia/query"):
        service = pyvo.dal.SIA2Service(archive.url + path)
        assert service.query_ep == f"{archive.url}/sia/query"
        assert len(service.search(pos=(10.0, 0.0, 0.05))) == 4


@pytest.mark.needs("stilts")
@pytest.mark.parametrize("name", ["votable", "votable/b", "votable/b2"])
@pytest.mark.parametrize(
    "asked",
    [{"POS": "RANGE 9 11 -1 1"}, {"MAXREC": "0"}, {"MAXREC": "1"}, {"CALIB": "0"}, {"POS": "x"}],
    ids=str,
)
def test_votlint(client: httpx.Client, tmp_path: Path, name: str, asked: dict[str, str]) -> None:
    path = tmp_path / "answer.xml"
    path.write_bytes(ask(client, RESPONSEFORMAT=name, **asked).content)
    command = ["stilts", "votlint", f"votable={path}"]
    report = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (report.stdout.strip(), report.returncode) == ("", 0)

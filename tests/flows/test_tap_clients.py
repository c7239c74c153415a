"""TAP as its clients use it: pyvo, STILTS (TOPCAT's twin) and a browser, on both engines."""

from __future__ import annotations

import csv
import io
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import httpx
import pytest
import pyvo
from astropy.table import Table

from app.schema.obscore import OBSCORE
from tests.flows.service import Service
from tests.jobs import phase_at_end
from tests.waiting import web
from tests.xsd import assert_valid_votable

IDS = "SELECT obs_publisher_did FROM ivoa.ObsCore"


@pytest.fixture
def targets(truth: dict[str, Any]) -> Table:
    """The transients of the survey, and a place where it has nothing."""
    found = truth["transients"]
    return Table(
        {
            "name": [*(f"transient {n}" for n in range(len(found))), "nowhere"],
            "ra": [*(each["ra_deg"] for each in found), 200.0],
            "dec": [*(each["dec_deg"] for each in found), 60.0],
        }
    )


JOIN = (
    "SELECT t.name, COUNT(*) AS n FROM TAP_UPLOAD.targets AS t JOIN ivoa.ObsCore AS o "
    "ON CONTAINS(POINT('ICRS', t.ra, t.dec), o.s_region) = 1 "
    "WHERE o.calib_level = 2 GROUP BY t.name ORDER BY t.name"
)


def count_at(tap: pyvo.dal.TAPService, row: Any) -> int:
    query = (
        "SELECT COUNT(*) AS n FROM ivoa.ObsCore WHERE calib_level = 2 AND "
        f"CONTAINS(POINT('ICRS', {float(row['ra'])!r}, {float(row['dec'])!r}), s_region) = 1"
    )
    return int(tap.search(query)[0]["n"])


def test_search_with_an_upload(tap: pyvo.dal.TAPService, targets: Table) -> None:
    found = tap.search(JOIN, uploads={"targets": targets})
    expected = {str(row["name"]): count_at(tap, row) for row in targets}
    assert {str(row["name"]): int(row["n"]) for row in found} == {
        name: n for name, n in expected.items() if n
    }
    assert len(found) == len(targets) - 1


def test_run_async_with_an_upload(tap: pyvo.dal.TAPService, targets: Table) -> None:
    sync = tap.search(JOIN, uploads={"targets": targets})
    asynchronous = tap.run_async(JOIN, uploads={"targets": targets})
    assert [tuple(row.values()) for row in sync] == [tuple(row.values()) for row in asynchronous]


def test_a_job_is_steered_and_found_again(tap: pyvo.dal.TAPService, targets: Table) -> None:
    job = tap.submit_job(JOIN, uploads={"targets": targets}, maxrec=1)
    job.runid = "upload flow"
    listed = {each.jobid for each in tap.get_job_list(phases="PENDING")}
    assert job.job_id in listed
    assert tap.get_job(job.job_id).phase == "PENDING"
    job.run().wait(phases=["COMPLETED", "ERROR"])
    job.raise_if_error()
    assert job.result_uris and len(job.fetch_result()) == 1
    assert tap.get_job(job.job_id).phase == "COMPLETED"
    assert any("targets,param:" in str(p.content) for p in job._job.parameters)
    job.delete()
    assert job.job_id not in {each.jobid for each in tap.get_job_list()}


def test_an_upload_round_trip(tap: pyvo.dal.TAPService, targets: Table) -> None:
    targets["ra"].unit = "deg"
    targets["k"] = list(range(len(targets)))
    targets["k"] = targets["k"].astype("i2")
    back = tap.search("SELECT * FROM TAP_UPLOAD.t1", uploads={"t1": targets}).to_table()
    assert back.colnames == targets.colnames
    assert back["k"].dtype.itemsize == 2 and str(back["ra"].unit) == "deg"
    for name in targets.colnames:
        assert list(back[name]) == list(targets[name])


def test_what_the_service_says_of_itself(service: Service, tap: pyvo.dal.TAPService) -> None:
    assert tap.maxrec == 100_000 and tap.hardlimit == 1_000_000
    ways = {method.ivo_id for method in tap.upload_methods}
    assert ways == {f"ivo://ivoa.net/std/TAPRegExt#upload-{w}" for w in ("inline", "http", "https")}
    assert tap.get_tap_capability().uploadlimit.hard.content == 32 * 2**20
    assert {"ivoa.ObsCore", "tap_schema.tables", "skyloom.product_input"} <= set(tap.tables.keys())
    columns = [column.name for column in tap.tables["ivoa.ObsCore"].columns]
    assert columns == [field.name for field in OBSCORE.fields]
    server = web.get(f"{service.url}/tap/capabilities").headers.get_list("server")
    assert len(server) == 1 and server[0].startswith("Skyloom/")


def test_maxrec(tap: pyvo.dal.TAPService) -> None:
    cut = tap.search(IDS, maxrec=3)
    assert (len(cut), cut.query_status) == (3, "OVERFLOW")
    total = len(tap.search(IDS))
    whole = tap.search(IDS, maxrec=total)
    assert (len(whole), whole.query_status) == (total, "OK")
    top = tap.search(f"SELECT TOP 3 {IDS[7:]}", maxrec=3)
    assert (len(top), top.query_status) == (3, "OK")
    assert tap.search(f"SELECT TOP 0 {IDS[7:]}").fieldnames == ("obs_publisher_did",)


def test_links_from_a_result(tap: pyvo.dal.TAPService) -> None:
    rows = tap.search("SELECT TOP 3 * FROM ivoa.ObsCore WHERE calib_level = 2")
    found = list(rows.iter_datalinks())
    assert len(found) == len(rows) == 3
    for row, links in zip(rows, found, strict=True):
        assert {link["ID"] for link in links} == {row["obs_publisher_did"]}
        this = next(links.bysemantics("#this", include_narrower=False))
        assert web.head(this.access_url).status_code == 200
    alone = tap.search("SELECT TOP 2 obs_publisher_did FROM ivoa.ObsCore")
    assert len(list(alone.iter_datalinks())) == 2


def test_examples_run(service: Service, tap: pyvo.dal.TAPService) -> None:
    examples = tap.examples
    assert len(examples) >= 8
    for example in examples:
        with httpx.Client() as client:
            form = {"LANG": "ADQL", "QUERY": example["QUERY"], "MAXREC": "50"}
            answer = client.post(f"{service.url}/tap/sync", data=form)
            assert answer.status_code == 200, (example["QUERY"], answer.text)


def test_the_examples_page_is_rdfa(service: Service, tap: pyvo.dal.TAPService) -> None:
    page = web.get(f"{service.url}/tap/examples")
    root = ET.fromstring(page.content)
    (main,) = (element for element in root.iter() if element.get("vocab"))
    assert main.get("vocab") == "http://www.ivoa.net/rdf/examples#"
    tables = {table.name.lower() for table in tap.tables}
    for example in root.iter():
        if example.get("typeof") != "example":
            continue
        assert example.get("resource") == f"#{example.get('id')}"
        texts = [(e.get("property"), e.text) for e in example.iter() if e.get("property")]
        assert [name for name, _ in texts][:2] == ["name", "query"]
        assert {text.lower() for name, text in texts if name == "table" and text} <= tables


def test_the_upload_example_works_as_written(service: Service) -> None:
    page = web.get(f"{service.url}/tap/examples").text
    table = web.get(f"{service.url}/tap/examples/targets.xml").content
    root = ET.fromstring(page)
    (section,) = (e for e in root.iter() if e.get("id") == "upload")
    query = next(e.text for e in section.iter() if e.tag.endswith("}pre"))
    form = {"LANG": "ADQL", "QUERY": query, "UPLOAD": "targets,param:mine", "FORMAT": "csv"}
    answer = web.post(f"{service.url}/tap/sync", data=form, files={"mine": table})
    names = {row["name"] for row in csv.DictReader(io.StringIO(answer.text))}
    assert names and names <= {f"target {n}" for n in range(1, 6)}


def test_a_browser_at_the_address_of_tap(service: Service) -> None:
    page = web.get(f"{service.url}/tap", headers={"Accept": "text/html"})
    assert page.status_code == 200 and page.headers["content-type"].startswith("text/html")
    for name in ("examples", "tables", "capabilities", "availability", "async"):
        assert f"/tap/{name}" in page.text
        assert web.get(f"{service.url}/tap/{name}").status_code == 200


def test_programs_in_pages_of_other_sites_may_ask(service: Service) -> None:
    origin = {"Origin": "https://aladin.example"}
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-a"}
    before = httpx.options(f"{service.url}/tap/sync", headers=origin | asked)
    assert before.status_code == 200
    assert before.headers["access-control-allow-origin"] == "*"
    assert "POST" in before.headers["access-control-allow-methods"]
    form = {"LANG": "ADQL", "QUERY": f"SELECT TOP 1 {IDS[7:]}"}
    answer = web.post(f"{service.url}/tap/sync", data=form, headers=origin)
    assert answer.headers["access-control-allow-origin"] == "*"
    wrong = web.get(f"{service.url}/tap/sync", headers=origin)
    assert (wrong.status_code, wrong.headers["access-control-allow-origin"]) == (400, "*")


@pytest.mark.parametrize(
    ("path", "method", "allowed"),
    [
        ("/tap/sync", "DELETE", "GET, HEAD, POST"),
        ("/tap/tables", "POST", "GET, HEAD"),
        ("/tap/async", "PUT", "GET, HEAD, POST"),
        ("/tap/examples", "POST", "GET, HEAD"),
    ],
)
def test_methods(sqlite_service: Service, path: str, method: str, allowed: str) -> None:
    refused = web.request(method, sqlite_service.url + path)
    assert (refused.status_code, refused.headers["allow"]) == (405, allowed)
    assert "UsageFault" in refused.text and "x-votable+xml" in refused.headers["content-type"]
    options = httpx.options(sqlite_service.url + path)
    assert (options.status_code, options.headers["allow"]) == (204, allowed)
    head = web.head(sqlite_service.url + path)
    get = web.get(sqlite_service.url + path)
    assert (head.status_code, head.content) == (get.status_code, b"")


def test_runid_reaches_job_and_log(service: Service, tap: pyvo.dal.TAPService) -> None:
    form = {"lang": "ADQL", "Query": f"SELECT TOP 1 {IDS[7:]}", "RunId": "night-7\nfaked line"}
    assert web.post(f"{service.url}/tap/sync", data=form).status_code == 200
    created = web.post(f"{service.url}/tap/async", data={**form, "PHASE": "RUN"})
    job = tap.get_job(created.headers["location"].rpartition("/")[2])
    assert job.runid == "night-7\nfaked line"
    assert phase_at_end(created.headers["location"]) == "COMPLETED"
    lines = [line for line in service.log().splitlines() if "night-7" in line]
    assert len(lines) == 2 and all("faked line" in line for line in lines)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"LANG": "PQL"}, ("LANG", "ADQL-2.1")),
        ({"REQUEST": "getNothing"}, ("REQUEST", "doQuery")),
        ({"RESPONSEFORMAT": "xls"}, ("RESPONSEFORMAT", "votable", "csv", "parquet")),
        ({"FORMAT": "text/x-unknown"}, ("FORMAT", "votable", "csv", "parquet")),
        ({"MAXREC": "all"}, ("MAXREC", "whole number")),
    ],
)
def test_wrong_parameters_name_what_is_allowed(
    sqlite_service: Service, wrong: dict[str, str], named: tuple[str, ...]
) -> None:
    form = {"LANG": "ADQL", "QUERY": IDS, **wrong}
    answer = web.post(f"{sqlite_service.url}/tap/sync", data=form)
    assert answer.status_code == 400
    assert_valid_votable(answer.content)
    assert 'name="QUERY_STATUS" value="ERROR"' in answer.text
    assert all(name in answer.text for name in named), answer.text


@pytest.mark.needs("stilts")
@pytest.mark.parametrize("mode", ["sync", "async"])
def test_stilts_tapquery_with_an_upload(
    service: Service, targets: Table, tmp_path: Path, mode: str
) -> None:
    targets.write(tmp_path / "targets.fits")
    command = [
        "stilts",
        "tapquery",
        f"tapurl={service.url}/tap",
        "nupload=1",
        f"upload1={tmp_path / 'targets.fits'}",
        "upname1=targets",
        f"adql={JOIN}",
        f"sync={'true' if mode == 'sync' else 'false'}",
        f"out={tmp_path / 'out.csv'}",
    ]
    report = subprocess.run(command, capture_output=True, text=True, check=False)
    assert report.returncode == 0, report.stderr
    found = list(csv.DictReader((tmp_path / "out.csv").open()))
    assert len(found) == len(targets) - 1 and min(int(row["n"]) for row in found) >= 1


KNOWN: dict[str, str] = {}
"""taplint report codes that are accepted; docs/operations.md gives the reason of each."""


def _findings(report: str) -> Iterator[str]:
    for finding in re.findall(r"^[EWF]-[A-Z]+-[A-Z0-9]+.*$", report, re.M):
        code = "-".join(finding.split("-", 3)[:3])
        if code not in KNOWN:
            yield finding


@pytest.mark.needs("stilts")
def test_taplint_has_nothing_to_say(service: Service) -> None:
    command = [
        "stilts",
        "taplint",
        f"tapurl={service.url}/tap",
        "report=EWFS",
        "stages=TMV TME TMS TMC CPV CAP AVV QGE QPO QAS UWS MDQ OBS UPL EXA",
    ]
    report = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    assert list(_findings(report)) == [], report
    totals = re.search(r"Totals: Errors: (\d+); Warnings: \d+; .*Failures: (\d+)", report)
    assert totals is not None and totals.groups() == ("0", "0"), report
    assert all(f"Section {stage}" in report for stage in ("UPL", "EXA", "UWS", "OBS")), report

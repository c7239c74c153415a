"""Wrong input of every kind gets the documented error, and the service goes on."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import pyvo

from tests.flows.service import Service
from tests.jobs import phase_at_end
from tests.waiting import web

ALL = "SELECT TOP 1 obs_id FROM ivoa.ObsCore"


def votable_error(answer: httpx.Response) -> str:
    """The text of QUERY_STATUS=ERROR in a VOTable answer."""
    assert "xml" in answer.headers["content-type"], answer.headers
    found = re.search(r'name="QUERY_STATUS" value="ERROR">([^<]+)<', answer.text)
    assert found, answer.text
    assert "Traceback" not in answer.text and "/app/" not in answer.text
    return found.group(1)


@pytest.fixture(autouse=True)
def still_alive(service: Service) -> Any:
    """Whatever a test sent, the next ordinary query works."""
    yield
    assert len(pyvo.dal.TAPService(f"{service.url}/tap").search(ALL)) == 1


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("SELEC * FROM ivoa.ObsCore", r"line 1, column 1"),
        ("SELECT * FROM ivoa.ObsCore WHERE", r"line 1"),
        ("SELECT *\nFROM ivoa.Obscora", r"ivoa\.ObsCore.*line 2"),
        ("SELECT s_regio FROM ivoa.ObsCore", r"s_region.*line 1, column 8"),
        ("SELECT file_path FROM ivoa.ObsCore", r"file_path"),
        ("SELECT * FROM sqlite_master", r"sqlite_master"),
        ("SELECT * FROM ivoa.ObsCore WHERE s_ra < 'x' OR", r"line 1"),
        ("SELECT 1; DROP TABLE obscore", r"line 1"),
        ("", r"QUERY"),
    ],
)
def test_broken_adql(service: Service, query: str, expected: str) -> None:
    answer = web.post(f"{service.url}/tap/sync", data={"LANG": "ADQL", "QUERY": query})
    assert answer.status_code == 400
    assert re.search(expected, votable_error(answer), re.S), answer.text


@pytest.mark.parametrize(
    ("parameters", "named"),
    [
        ({"LANG": "OOBLECK", "QUERY": ALL}, "LANG"),
        ({"LANG": "ADQL"}, "QUERY"),
        ({"LANG": "ADQL", "QUERY": ALL, "MAXREC": "many"}, "MAXREC"),
        ({"LANG": "ADQL", "QUERY": ALL, "MAXREC": "-1"}, "MAXREC"),
        ({"LANG": "ADQL", "QUERY": ALL, "RESPONSEFORMAT": "image/png"}, "RESPONSEFORMAT"),
    ],
)
def test_wrong_tap_parameters(service: Service, parameters: dict[str, str], named: str) -> None:
    answer = web.get(f"{service.url}/tap/sync", params=parameters)
    assert answer.status_code == 400
    assert named in votable_error(answer)


def test_async_error_is_a_votable_under_the_job(service: Service) -> None:
    with httpx.Client(follow_redirects=True) as client:
        job = client.post(
            f"{service.url}/tap/async",
            data={"LANG": "ADQL", "QUERY": "SELECT nothing FROM ivoa.ObsCore", "PHASE": "RUN"},
        )
        assert phase_at_end(str(job.url), client) == "ERROR"
        error = client.get(f"{job.url}/error")
        assert error.status_code == 200
        assert "nothing" in votable_error(error)
        assert client.get(f"{job.url}/results/result").status_code == 404


def test_unknown_job_and_dataset(service: Service) -> None:
    assert web.get(f"{service.url}/tap/async/no-such-job").status_code == 404
    links = web.get(f"{service.url}/datalink/links", params={"ID": "ivo://x/y?z"})
    assert links.status_code == 200 and "NotFoundFault" in links.text
    for path in ("template", "difference"):
        answer = web.get(f"{service.url}/builds/{path}/sync", params={"ID": "ivo://x/y?z"})
        assert answer.status_code == 404
        assert "ivo://x/y?z" in answer.text


def this_link(service: Service) -> str:
    """A freshly signed address of some image."""
    tap = pyvo.dal.TAPService(f"{service.url}/tap")
    row = tap.search("SELECT TOP 1 * FROM ivoa.ObsCore WHERE calib_level = 2")[0]
    found = re.search(r"http[^<]+/files/[^<]+", web.get(row["access_url"]).text)
    assert found
    return found.group(0).replace("&amp;", "&")


def test_forged_file_links_are_refused(service: Service) -> None:
    good = this_link(service)
    assert web.get(good).status_code == 200
    for forged in forgeries(good):
        answer = web.get(forged)
        assert answer.status_code in {403, 404}, forged
        assert "SIMPLE" not in answer.text[:100]
        assert str(service.data_dir) not in answer.text


def forgeries(url: str) -> list[str]:
    """The link with each of its digits changed, cut short and drawn out."""
    start = url.index("/files/") + len("/files/")
    moved = [
        url[: start + m.start()] + str((int(m.group()) + 1) % 10) + url[start + m.end() :]
        for m in re.finditer(r"\d", url[start:])
    ]
    return [*moved[:60], url[:-8], url + "0"]


def test_range_requests(service: Service) -> None:
    url = this_link(service)
    whole = web.get(url).content
    part = web.get(url, headers={"Range": "bytes=2880-5759"})
    assert part.status_code == 206 and part.content == whole[2880:5760]
    assert part.headers["content-range"] == f"bytes 2880-5759/{len(whole)}"
    assert web.get(url, headers={"Range": f"bytes={len(whole)}-"}).status_code == 416
    assert int(web.head(url).headers["content-length"]) == len(whole)


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"POS": "CIRCLE 200 80 0.01", "BAND": "i"}, "overlap|no exposures|No "),
        ({"POS": "CIRCLE 200 80", "BAND": "i"}, "POS"),
        ({"POS": "DONUT 1 2 3", "BAND": "i"}, "POS"),
        ({"BAND": "i"}, "POS"),
        ({"POS": "CIRCLE 200 80 0.01"}, "BAND"),
        ({"POS": "CIRCLE 200 80 0.01", "BAND": "i", "FWHM_FRACTION": "2"}, "FWHM_FRACTION"),
        ({"POS": "CIRCLE 200 80 0.01", "BAND": "i", "TIME": "yesterday"}, "TIME"),
    ],
)
def test_wrong_template_requests(
    service: Service, parameters: dict[str, str], expected: str
) -> None:
    url = f"{service.url}/builds/template/sync"
    for answer in (web.get(url, params=parameters), web.post(url, json=parameters)):
        assert 400 <= answer.status_code < 500, answer.text
        assert re.search(expected, answer.text), answer.text
        assert "Traceback" not in answer.text


def test_wrong_difference_requests(service: Service) -> None:
    url = f"{service.url}/builds/difference/sync"
    nothing = web.get(url)
    assert nothing.status_code == 400 and "ID" in nothing.text
    twice = web.get(f"{url}?ID={quote('ivo://a/b?c')}&ID={quote('ivo://a/b?d')}")
    assert twice.status_code == 400 and "ID" in twice.text
    broken = web.post(url, content=b"{", headers={"content-type": "application/json"})
    assert broken.status_code == 400

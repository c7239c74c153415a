"""The async side of TAP: UWS 1.1 as clients drive it."""

from __future__ import annotations

import io
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import httpx
import pytest
import pyvo
from astropy.io.votable import parse
from lxml import etree

from tests.http.archive import Archive
from tests.jobs import phase_at_end
from tests.waiting import web
from tests.xsd import assert_valid_uws, assert_valid_votable

QUERY = "SELECT obs_publisher_did, access_url FROM ivoa.ObsCore"
UWS = "{http://www.ivoa.net/xml/UWS/v1.0}"


def _create(client: httpx.Client, **more: str) -> str:
    """Address of a new job."""
    answer = client.post("/tap/async", data={"LANG": "ADQL", "QUERY": QUERY, **more})
    assert answer.status_code == 303, answer.text
    return str(answer.headers["location"])


def _job(client: httpx.Client, url: str, **more: str) -> etree._Element:
    answer = client.get(url, params=more)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/xml")
    return assert_valid_uws(answer.content)


def _run(client: httpx.Client, **more: str) -> str:
    """Address of a job that has ended."""
    url = _create(client, PHASE="RUN", **more)
    assert phase_at_end(url, client) in {"COMPLETED", "ERROR"}
    return url


def test_a_job_from_creation_to_result(client: httpx.Client) -> None:
    url = _create(client, REQUEST="doQuery", RUNID="mine")
    job = _job(client, url)
    assert job.findtext(f"{UWS}jobId") == url.rsplit("/", 1)[1]
    assert job.findtext(f"{UWS}phase") == "PENDING"
    assert job.findtext(f"{UWS}runId") == "mine"
    names = [p.get("id") for p in job.iter(f"{UWS}parameter")]
    assert names == ["LANG", "QUERY", "REQUEST"]
    moved = client.post(f"{url}/phase", data={"PHASE": "RUN"})
    assert (moved.status_code, moved.headers["location"]) == (303, url)
    assert phase_at_end(url, client) == "COMPLETED"
    job = _job(client, url)
    assert job.findtext(f"{UWS}phase") == "COMPLETED"
    (result,) = job.iter(f"{UWS}result")
    assert result.get("id") == "result"
    href = str(result.get("{http://www.w3.org/1999/xlink}href"))
    assert href == f"{url}/results/result"
    answer = client.get(href)
    assert_valid_votable(answer.content)
    table = parse(io.BytesIO(answer.content)).get_first_table().to_table()
    assert len(table) == 4
    base = url.split("/tap/")[0]
    assert all(str(link).startswith(f"{base}/datalink/") for link in table["access_url"])
    assert client.get(f"{url}/error").status_code == 404


def test_the_format_of_a_result(client: httpx.Client) -> None:
    url = _run(client, RESPONSEFORMAT="csv")
    answer = client.get(f"{url}/results/result")
    assert answer.headers["content-type"] == "text/csv;header=present"
    assert answer.text.startswith("obs_publisher_did,access_url\n")


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"QUERY": "SELECT nothing FROM ivoa.ObsCore"}, "nothing"),
        ({"LANG": "OOBLECK"}, "LANG"),
        ({"FORMAT": "gif"}, "FORMAT"),
    ],
)
def test_a_job_that_fails(client: httpx.Client, more: dict[str, str], named: str) -> None:
    url = _run(client, **more)
    job = _job(client, url)
    assert job.findtext(f"{UWS}phase") == "ERROR"
    summary = job.find(f"{UWS}errorSummary")
    assert summary is not None and summary.get("type") == "fatal"
    assert named in (summary.findtext(f"{UWS}message") or "")
    error = client.get(f"{url}/error")
    assert error.status_code == 200
    root = assert_valid_votable(error.content)
    assert named in "".join(root.itertext())
    assert "UsageFault: " in "".join(root.itertext())
    assert client.get(f"{url}/results/result").status_code == 404


@pytest.mark.parametrize("child", ["phase", "executionduration", "destruction", "quote", "owner"])
def test_properties_are_plain_text(client: httpx.Client, child: str) -> None:
    answer = client.get(f"{_create(client)}/{child}")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")


def test_properties_agree_with_the_document(client: httpx.Client) -> None:
    url = _create(client)
    job = _job(client, url)
    for child, element in (
        ("executionduration", "executionDuration"),
        ("destruction", "destruction"),
        ("phase", "phase"),
    ):
        assert client.get(f"{url}/{child}").text == job.findtext(f"{UWS}{element}")
    assert client.get(f"{url}/destruction").text.endswith("Z")


def test_what_a_user_may_change(client: httpx.Client) -> None:
    url = _create(client)
    for child, data in (
        ("parameters", {"runId": "new", "query": "SELECT TOP 1 s_ra FROM ivoa.ObsCore"}),
        ("executionduration", {"EXECUTIONDURATION": "7"}),
        ("destruction", {"DESTRUCTION": datetime.now(UTC).strftime("%Y-%m-%dT23:59:59.999Z")}),
    ):
        answer = client.post(f"{url}/{child}", data=data)
        assert (answer.status_code, answer.headers.get("location")) == (303, url), answer.text
    job = _job(client, url)
    assert job.findtext(f"{UWS}runId") == "new"
    assert job.findtext(f"{UWS}executionDuration") == "7"
    queries = [p.text for p in job.iter(f"{UWS}parameter") if p.get("id", "").lower() == "query"]
    assert queries == ["SELECT TOP 1 s_ra FROM ivoa.ObsCore"]
    assert assert_valid_uws(client.get(f"{url}/parameters").content).tag == f"{UWS}parameters"
    assert assert_valid_uws(client.get(f"{url}/results").content).tag == f"{UWS}results"


@pytest.mark.parametrize(
    ("child", "data"),
    [
        ("phase", {"PHASE": "JUMP"}),
        ("phase", {}),
        ("executionduration", {"EXECUTIONDURATION": "long"}),
        ("executionduration", {"EXECUTIONDURATION": "-1"}),
        ("destruction", {"DESTRUCTION": "tomorrow"}),
        ("destruction", {"DESTRUCTION": "2001-01-01T00:00:00Z"}),
    ],
)
def test_wrong_changes_are_refused(client: httpx.Client, child: str, data: dict[str, str]) -> None:
    url = _create(client)
    answer = client.post(f"{url}/{child}", data=data)
    assert answer.status_code == 400
    assert child.upper() in answer.text
    assert client.get(f"{url}/phase").text == "PENDING"


def test_an_ended_job_cannot_run_again(client: httpx.Client) -> None:
    url = _run(client)
    assert client.post(f"{url}/phase", data={"PHASE": "RUN"}).status_code == 403
    assert client.post(f"{url}/parameters", data={"QUERY": "x"}).status_code == 403
    assert client.post(f"{url}/phase", data={"PHASE": "ABORT"}).status_code == 303
    assert client.get(f"{url}/phase").text == "COMPLETED"


def test_abort(client: httpx.Client) -> None:
    url = _create(client)
    assert client.post(f"{url}/phase", data={"PHASE": "ABORT"}).status_code == 303
    assert client.get(f"{url}/phase").text == "ABORTED"


@pytest.mark.parametrize("how", ["DELETE", "ACTION"])
def test_delete(archive: Archive, client: httpx.Client, how: str) -> None:
    url = _run(client)
    path = archive.data_dir / "results" / url.rsplit("/", 1)[1]
    assert path.is_dir()
    answer = client.request("DELETE" if how == "DELETE" else "POST", url, data={"ACTION": "DELETE"})
    assert (answer.status_code, answer.headers["location"]) == (303, f"{archive.url}/tap/async")
    assert client.get(url).status_code == 404
    assert not path.exists()


def test_unknown_jobs(client: httpx.Client) -> None:
    for child in ("", "/phase", "/parameters", "/results", "/results/result", "/error"):
        assert client.get(f"/tap/async/no-such-job{child}").status_code == 404
    assert client.delete("/tap/async/no-such-job").status_code == 404
    assert client.post("/tap/async/no-such-job/phase", data={"PHASE": "RUN"}).status_code == 404


def test_the_job_list(client: httpx.Client) -> None:
    url = _create(client)
    done = _run(client)
    jobs = assert_valid_uws(client.get("/tap/async").content)
    hrefs = [ref.get("{http://www.w3.org/1999/xlink}href") for ref in jobs]
    assert hrefs[:2] == [done, url]
    pending = assert_valid_uws(client.get("/tap/async?PHASE=PENDING&phase=held").content)
    assert {ref.findtext(f"{UWS}phase") for ref in pending} == {"PENDING"}
    assert len(assert_valid_uws(client.get("/tap/async?LAST=1").content)) == 1
    assert len(assert_valid_uws(client.get("/tap/async?AFTER=2999-01-01T00:00:00Z").content)) == 0
    for wrong in ("PHASE=DONE", "LAST=0", "AFTER=yesterday"):
        assert client.get(f"/tap/async?{wrong}").status_code == 400


def test_wait_returns_on_a_change_and_holds_no_thread(
    archive: Archive, client: httpx.Client
) -> None:
    url = _create(client)
    waiters = 60  # more than the threads that requests are answered with

    def wait() -> str:
        return web.get(url, params={"WAIT": "60", "PHASE": "PENDING"}).text

    with ThreadPoolExecutor(waiters) as pool:
        waiting = [pool.submit(wait) for _ in range(waiters)]
        time.sleep(0.5)
        assert not any(each.done() for each in waiting)
        assert client.get("/tap/availability").status_code == 200
        client.post(f"{url}/phase", data={"PHASE": "ABORT"})
        documents = [each.result() for each in waiting]
    assert all("ABORTED" in document for document in documents)


def test_wait_with_another_phase_returns_at_once(client: httpx.Client) -> None:
    url = _create(client)
    with httpx.Client(timeout=50) as impatient:
        for more in ({"WAIT": "60", "PHASE": "QUEUED"}, {"WAIT": "0"}):
            job = _job(impatient, url, **more)
            assert job.findtext(f"{UWS}phase") == "PENDING"
        _job(impatient, _run(client), WAIT="-1")


def test_a_creation_that_is_refused_leaves_no_job(client: httpx.Client) -> None:
    before = len(assert_valid_uws(client.get("/tap/async").content))
    for wrong in ({"PHASE": "ABORT"}, {"DESTRUCTION": "x"}, {"EXECUTIONDURATION": "x"}):
        answer = client.post("/tap/async", data={"QUERY": QUERY, **wrong})
        assert answer.status_code == 400
        assert next(iter(wrong)) in answer.text
    assert len(assert_valid_uws(client.get("/tap/async").content)) == before


def test_pyvo_runs_jobs(archive: Archive) -> None:
    tap = pyvo.dal.TAPService(f"{archive.url}/tap")
    job = tap.submit_job(QUERY, maxrec=2)
    assert job.phase == "PENDING"
    job.run()
    job.wait(phases=["COMPLETED", "ERROR"])
    job.raise_if_error()
    assert len(job.fetch_result()) == 2
    job.delete()
    failing = tap.submit_job("SELECT obs_idd FROM ivoa.ObsCore").run()
    failing.wait(phases=["COMPLETED", "ERROR"])
    with pytest.raises(pyvo.dal.DALQueryError, match="obs_idd"):
        failing.raise_if_error()
    assert len(tap.run_async(QUERY)) == 4

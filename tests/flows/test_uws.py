"""UWS 1.1 against a running server on both engines: what is promised is carried out."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import psycopg
import pytest
from lxml import etree

from tests.flows.service import Service
from tests.waiting import wait_for, web
from tests.xsd import assert_valid_uws

UWS = "{http://www.ivoa.net/xml/UWS/v1.0}"
DATABASE = "SKYLOOM_DATABASE_URL"
ENVIRONMENT = {"SKYLOOM_QUERY_TIME_LIMIT_S": "600"}
SHORT = "SELECT TOP 3 table_name FROM TAP_SCHEMA.tables"
UPLOADED = (
    '<VOTABLE version="1.4" xmlns="http://www.ivoa.net/xml/VOTable/v1.3"><RESOURCE><TABLE>'
    '<FIELD name="n" datatype="int"/><DATA><TABLEDATA><TR><TD>41</TD></TR></TABLEDATA></DATA>'
    "</TABLE></RESOURCE></VOTABLE>"
)
ENDLESS = "SELECT COUNT(*) AS n FROM " + " JOIN ".join(
    f"TAP_SCHEMA.columns AS {alias}"
    + ("" if alias == "a" else f" ON a.column_name <= {alias}.column_name OR a.column_name > 'a'")
    for alias in "abcdef"
)
"""Billions of row combinations: nobody waits for its end."""


@pytest.fixture(params=["sqlite", "postgres"])
def service(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Service]:
    """A server over an empty database of each engine, which a test starts and stops."""
    url = str(request.getfixturevalue(f"fresh_{request.param}_url"))
    made = Service(data_dir=tmp_path / "data", environment=ENVIRONMENT | {DATABASE: url})
    yield made
    made.stop()


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    """One running server of each engine for the tests that leave it running."""
    made = Service(data_dir=tmp_path_factory.mktemp("uws"), environment=ENVIRONMENT)
    if request.param == "postgres":
        server = request.getfixturevalue("postgres_server")
        url = server.create(template=request.getfixturevalue("postgres_template"))
        made.environment = ENVIRONMENT | {DATABASE: url}
    yield made.start()
    made.stop()


def create(service: Service, query: str = SHORT, **more: str) -> str:
    """Address of a new job."""
    answer = web.post(f"{service.url}/tap/async", data={"LANG": "ADQL", "QUERY": query, **more})
    assert answer.status_code == 303, answer.text
    return str(answer.headers["location"])


def create_with_upload(service: Service, query: str, **more: str) -> str:
    """Address of a new job that brings TAP_UPLOAD.mine."""
    answer = web.post(
        f"{service.url}/tap/async",
        data={"LANG": "ADQL", "QUERY": query, "UPLOAD": "mine,param:t1", **more},
        files={"t1": ("t1.xml", UPLOADED, "application/x-votable+xml")},
    )
    assert answer.status_code == 303, answer.text
    return str(answer.headers["location"])


def phase_of(url: str) -> str:
    """The phase now."""
    return web.get(f"{url}/phase").text


def document(url: str, **more: str) -> etree._Element:
    """The valid job document."""
    answer = web.get(url, params=more)
    assert answer.status_code == 200, answer.text
    return assert_valid_uws(answer.content)


def results_folder(service: Service, url: str) -> Path:
    """Where the results of a job lie."""
    return service.data_dir / "results" / url.rsplit("/", 1)[1]


def statements_running(service: Service) -> int:
    """How many statements the database executes for the service; of SQLite, whether the server
    computes at all."""
    url = service.environment.get(DATABASE)
    if url is None or url.startswith("sqlite"):
        assert service.process is not None
        return int(psutil.Process(service.process.pid).cpu_percent(interval=0.3) > 60)
    with psycopg.connect(url) as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
            "AND state = 'active' AND pid <> pg_backend_pid()"
        ).fetchone()
    return int(row[0]) if row else 0


def destroy_soon(url: str) -> None:
    """Set a destruction time that the server still has to wait for when it hears of it."""
    for seconds in (1, 5, 30):
        instant = datetime.now(UTC) + timedelta(seconds=seconds)
        destruction = instant.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        answer = web.post(f"{url}/destruction", data={"DESTRUCTION": destruction})
        if answer.status_code == 303:
            return
    raise AssertionError(answer.text)


def test_queued_and_pending_jobs_survive_a_restart(service: Service) -> None:
    service.start()
    pending = create(service, RUNID="kept")
    service.stop()
    service.start()
    job = document(pending)
    assert job.findtext(f"{UWS}phase") == "PENDING" and job.findtext(f"{UWS}runId") == "kept"
    web.post(f"{pending}/phase", data={"PHASE": "RUN"})
    service.kill()
    service.start()
    wait_for(lambda: phase_of(pending) == "COMPLETED")
    assert web.get(f"{pending}/results/result").status_code == 200


def test_an_upload_survives_a_restart_and_is_destroyed_with_its_job(service: Service) -> None:
    service.start()
    url = create_with_upload(service, "SELECT n FROM TAP_UPLOAD.mine", RESPONSEFORMAT="csv")
    service.kill()
    service.start()
    web.post(f"{url}/phase", data={"PHASE": "RUN"})
    wait_for(lambda: phase_of(url) == "COMPLETED")
    assert web.get(f"{url}/results/result").text.split() == ["n", "41"]
    destroy_soon(url)
    wait_for(lambda: web.get(url).status_code == 404)
    wait_for(lambda: not list(service.data_dir.rglob(f"*{url.rsplit('/', 1)[1]}*")))


def test_destruction_takes_the_row_and_the_results(served: Service) -> None:
    url = create(served, PHASE="RUN")
    wait_for(lambda: phase_of(url) == "COMPLETED")
    assert results_folder(served, url).is_dir()
    destroy_soon(url)
    wait_for(lambda: web.get(url).status_code == 404)
    wait_for(lambda: not results_folder(served, url).exists())
    assert web.get(f"{url}/results/result").status_code == 404


def test_an_archive_keeps_the_record_without_the_results(service: Service) -> None:
    service.environment = {**service.environment, "SKYLOOM_JOB_ARCHIVE_S": "3600"}
    service.start()
    done, never_run = create(service, PHASE="RUN", RUNID="old"), create(service)
    wait_for(lambda: phase_of(done) == "COMPLETED")
    for url in (done, never_run):
        destroy_soon(url)
    wait_for(lambda: phase_of(done) == "ARCHIVED")
    wait_for(lambda: web.get(never_run).status_code == 404)
    job = document(done, WAIT="60")
    assert job.findtext(f"{UWS}runId") == "old" and not list(job.iter(f"{UWS}result"))
    assert not results_folder(service, done).exists()
    jobs = f"{service.url}/tap/async"
    assert len(assert_valid_uws(web.get(jobs).content)) == 0
    listed = assert_valid_uws(web.get(jobs, params={"PHASE": "ARCHIVED"}).content)
    assert [ref.get("id") for ref in listed] == [done.rsplit("/", 1)[1]]
    assert web.post(f"{done}/phase", data={"PHASE": "RUN"}).status_code == 403
    assert web.delete(done).status_code == 303
    assert web.get(done).status_code == 404


def test_list_filters_go_together(served: Service) -> None:
    first = create(served)
    made = [create(served) for _ in range(4)]
    web.post(f"{made[1]}/phase", data={"PHASE": "ABORT"})
    done = create(served, PHASE="RUN")
    wait_for(lambda: phase_of(done) == "COMPLETED")
    after = str(document(first).findtext(f"{UWS}creationTime"))

    def listed(*filters: tuple[str, str]) -> list[str]:
        answer = web.get(f"{served.url}/tap/async", params=list(filters))
        return [str(ref.get("id")) for ref in assert_valid_uws(answer.content)]

    def ids(*urls: str) -> list[str]:
        return [url.rsplit("/", 1)[1] for url in urls]

    assert listed()[:6] == ids(done, *reversed(made), first)
    two = (("PHASE", "PENDING"), ("phase", "ABORTED"))
    assert listed(*two, ("AFTER", after), ("LAST", "3")) == ids(made[3], made[2], made[1])
    assert listed(*two, ("LAST", "99"))[:5] == ids(*reversed(made), first)
    assert listed(("PHASE", "COMPLETED"), ("AFTER", after)) == ids(done)


@pytest.mark.parametrize("prefix", ["tap", "builds/template", "builds/difference"])
def test_wait_and_its_guard_on_every_job_list(served: Service, prefix: str) -> None:
    answer = web.post(f"{served.url}/{prefix}/async", data={"QUERY": SHORT, "POS": "CIRCLE 0"})
    url = str(answer.headers["location"])
    for params in ({"WAIT": "60", "PHASE": "QUEUED"}, {"WAIT": "0"}, {"WAIT": "1"}):
        assert document(url, **params).findtext(f"{UWS}phase") == "PENDING"
    assert web.get(url, params={"WAIT": "soon"}).status_code == 400
    assert web.get(url, params={"WAIT": "1", "PHASE": "DONE"}).status_code == 400
    web.post(f"{url}/phase", data={"PHASE": "ABORT"})
    assert document(url, WAIT="-1", PHASE="PENDING").findtext(f"{UWS}phase") == "ABORTED"


def test_a_waiting_request_ends_with_the_job(served: Service) -> None:
    url = create(served, PHASE="RUN")
    seen = []
    while not seen or seen[-1] in {"QUEUED", "EXECUTING"}:
        seen.append(str(document(url, WAIT="-1").findtext(f"{UWS}phase")))
    assert seen[-1] == "COMPLETED" and len(seen) <= 3


def test_an_abort_stops_the_statement_and_frees_its_place(served: Service) -> None:
    endless = [create(served, ENDLESS, PHASE="RUN") for _ in range(5)]
    wait_for(lambda: [phase_of(url) for url in endless] == ["EXECUTING"] * 4 + ["QUEUED"])
    queued = document(endless[-1])
    assert queued.findtext(f"{UWS}jobInfo/progress/queuePosition") == "1"
    wait_for(lambda: document(endless[0]).findtext(f"{UWS}jobInfo/progress/stage") == "query")
    for url, how in zip(endless, ("PHASE", "ACTION", "DELETE", "PHASE", "PHASE"), strict=True):
        if how == "DELETE":
            web.delete(url)
        elif how == "ACTION":
            web.post(url, data={"ACTION": "DELETE"})
        else:
            web.post(f"{url}/phase", data={"PHASE": "ABORT"})
    short = create(served, PHASE="RUN")  # all places were taken
    wait_for(lambda: phase_of(short) == "COMPLETED")
    wait_for(lambda: statements_running(served) == 0)
    assert [phase_of(endless[n]) for n in (0, 3, 4)] == ["ABORTED"] * 3
    assert not results_folder(served, endless[0]).exists()


def test_the_execution_duration_ends_the_statement(served: Service) -> None:
    late = [
        create(served, ENDLESS, PHASE="RUN", EXECUTIONDURATION="1", RESPONSEFORMAT=form)
        for form in ("csv", "votable", "csv", "votable")
    ]
    longest = create(served, EXECUTIONDURATION="0")
    assert document(longest).findtext(f"{UWS}executionDuration") == "600"
    for url in late:
        wait_for(lambda url=url: phase_of(url) == "ERROR")
        summary = document(url).find(f"{UWS}errorSummary")
        assert summary is not None and "longer than 1 s" in (summary[0].text or "")
        error = web.get(f"{url}/error")
        assert error.status_code == 200 and 'value="ERROR"' in error.text
        assert web.get(f"{url}/results/result").status_code == 404
        assert len(assert_valid_uws(web.get(f"{url}/results").content)) == 0
    wait_for(lambda: statements_running(served) == 0)


def test_destruction_ends_a_job_that_runs(served: Service) -> None:
    url = create(served, ENDLESS, PHASE="RUN")
    wait_for(lambda: phase_of(url) == "EXECUTING")
    destroy_soon(url)
    wait_for(lambda: web.get(url).status_code == 404)
    wait_for(lambda: statements_running(served) == 0)


def test_a_quote_comes_from_measured_jobs(service: Service) -> None:
    service.start()
    url = create(service)
    nil = "{http://www.w3.org/2001/XMLSchema-instance}nil"

    def quote(job: str) -> str:
        text = web.get(f"{job}/quote").text
        element = document(job).find(f"{UWS}quote")
        assert element is not None and (element.get(nil) == "true") == (text == "")
        return text

    assert quote(url) == ""
    for _ in range(3):
        done = create(service, PHASE="RUN")
        wait_for(lambda done=done: phase_of(done) == "COMPLETED")
    wait_for(lambda: quote(url) != "")
    asked = datetime.now(UTC)
    promised = datetime.fromisoformat(quote(url))
    assert timedelta(seconds=-1) < promised - asked < timedelta(minutes=10)
    with_upload = f"SELECT m.n FROM TAP_UPLOAD.mine AS m, ({SHORT}) AS t"
    assert quote(create_with_upload(service, with_upload)) != ""
    elsewhere = create(service, with_upload, UPLOAD="mine,http://127.0.0.1/t.xml")
    assert quote(elsewhere) == ""  # its size is known once it is fetched
    assert quote(create(service, "SELECT nothing FROM nowhere")) == ""
    assert quote(create(service, ENDLESS)) == ""  # far from everything that was measured
    assert quote(done) == ""


def test_every_child_says_which_methods_it_takes(served: Service) -> None:
    url = create(served)
    for child, allowed in (
        ("", "DELETE, GET, HEAD, POST"),
        ("/phase", "GET, HEAD, POST"),
        ("/parameters", "GET, HEAD, POST"),
        ("/parameters/QUERY", "GET, HEAD, PUT"),
        ("/results", "GET, HEAD"),
        ("/quote", "GET, HEAD"),
    ):
        answer = web.request("PATCH", url + child)
        assert (answer.status_code, answer.headers["allow"]) == (405, allowed), child
        head = web.head(url + child)
        assert (head.status_code, head.content) == (200, b""), child


def test_parameters_one_by_one(served: Service) -> None:
    url = create(served)
    assert web.get(f"{url}/parameters/query").text == SHORT
    assert web.get(f"{url}/parameters/MAXREC").status_code == 404
    for name, value in (("MAXREC", "2"), ("query", SHORT + " ")):
        answer = web.put(f"{url}/parameters/{name}", content=value)
        assert (answer.status_code, answer.headers["location"]) == (303, url)
    assert web.put(f"{url}/parameters/PHASE", content="RUN").status_code == 400
    assert web.put(f"{url}/parameters/QUERY", content=b"\xff").status_code == 400
    assert web.post(f"{url}/parameters", data={"PHASE": "RUN"}).status_code == 400
    web.post(url, data={"RESPONSEFORMAT": "csv", "PHASE": "RUN"})
    wait_for(lambda: phase_of(url) == "COMPLETED")
    assert len(web.get(f"{url}/results/result").text.split()) == 3
    assert web.put(f"{url}/parameters/MAXREC", content="1").status_code == 403


def test_what_cannot_be_is_refused_in_words(served: Service) -> None:
    url = create(served)
    for data, status in (
        ({"PHASE": ["RUN", "ABORT"]}, 400),
        ({"DESTRUCTION": "0001-01-01T00:00:00+14:00"}, 400),
        ({"EXECUTIONDURATION": "1.5"}, 400),
        ({"PHASE": "JUMP", "EXECUTIONDURATION": "1"}, 400),
        ({"ACTION": "HIDE"}, 400),
    ):
        answer = web.post(url, data=data)
        assert answer.status_code == status, (data, answer.text)
        assert 'value="ERROR"' in answer.text and next(iter(data)) in answer.text
    assert document(url).findtext(f"{UWS}executionDuration") == "600"
    assert web.get(f"{served.url}/tap/async", params={"LAST": "9" * 30}).status_code == 200
    answer = web.post(f"{served.url}/builds/template/async", data={"POS": "x"})
    build = str(answer.headers["location"])
    web.post(f"{build}/executionduration", data={"EXECUTIONDURATION": "9" * 30})
    assert document(build).findtext(f"{UWS}executionDuration") == str(2**31 - 1)

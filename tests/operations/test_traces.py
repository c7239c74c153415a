"""Traces of a real server and its workers, taken by a receiver of OTLP/HTTP."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.errors import UsageError
from app.traces import is_wanted, statement_name
from tests.flows.service import Service
from tests.operations.collector import Collector, Seen, collecting
from tests.waiting import wait_for, web

TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SECRET = "hidden-42"
QUERY = {
    "LANG": "ADQL",
    "FORMAT": "csv",
    "QUERY": f"SELECT COUNT(*) AS n FROM ivoa.ObsCore WHERE obs_collection <> '{SECRET}'",
}


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with collecting() as made:
        yield made


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, collector: Collector) -> Iterator[Service]:
    """A server that traces, without images."""
    environment = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_BSP_SCHEDULE_DELAY": "100",
    }
    made = Service(data_dir=tmp_path_factory.mktemp("traces"), environment=environment).start()
    yield made
    made.stop()


def one(collector: Collector, name: str, **wanted: str) -> Seen:
    """The span of a name with these attributes, when it has come."""

    def found() -> list[Seen]:
        pairs = {key.replace("_", "."): value for key, value in wanted.items()}.items()
        return [each for each in collector.named(name) if pairs <= each.attributes.items()]

    wait_for(lambda: bool(found()))
    return found()[0]


def test_a_query_goes_on_with_the_trace_of_its_client(
    service: Service, collector: Collector
) -> None:
    headers = {"traceparent": f"00-{TRACE}-{CALLER}-01", "X-Request-ID": "asked-1"}
    assert web.get(f"{service.url}/tap/sync", params=QUERY, headers=headers).status_code == 200
    request = one(collector, "GET /tap/sync", skyloom_request="asked-1")
    assert (request.trace, request.parent, request.service) == (TRACE, CALLER, "skyloom")
    assert request.attributes["http.response.status_code"] == 200 and not request.has_failed
    wait_for(lambda: any(each.trace == TRACE for each in collector.named("query")))
    query = next(each for each in collector.named("query") if each.trace == TRACE)
    assert query.attributes["skyloom.rows"] == 1
    assert SECRET.encode() not in collector.raw


def test_a_job_is_of_the_trace_of_its_request(service: Service, collector: Collector) -> None:
    asked = {**QUERY, "PHASE": "RUN"}
    headers = {"X-Request-ID": "asked-2"}
    answer = web.post(f"{service.url}/tap/async", data=asked, headers=headers)
    job = one(collector, "tap job")
    request = one(collector, "POST /tap/async", skyloom_request="asked-2")
    assert (job.trace, job.parent) == (request.trace, request.own), answer.text
    wait_for(lambda: any(each.parent == job.own for each in collector.named("query")))
    assert {each.name for each in collector.spans if each.parent == job.own} >= {"SELECT job"}


def test_a_task_of_a_worker_goes_on_with_the_trace_of_its_job(collector: Collector) -> None:
    program = (
        "from app.workers.remote import Submission, _traced, traces, Limits; "
        f"made = Submission(token='', job_id='7', data_dir='', mark='', limits=Limits(), "
        f"traceparent='00-{TRACE}-{CALLER}-01'); traces.configure()\n"
        "with _traced('warp an exposure', made): pass"
    )
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_SERVICE_NAME": "worker-3"}
    here = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", program], env=environment, cwd=here, check=True)
    task = one(collector, "warp an exposure", skyloom_job="7")
    assert (task.trace, task.parent, task.service) == (TRACE, CALLER, "worker-3")


def test_a_request_that_is_refused_is_no_failure(service: Service, collector: Collector) -> None:
    web.get(f"{service.url}/datalink/links", params={"ID": f"ivo://{SECRET}/x"})
    web.get(f"{service.url}/no/such/{SECRET}")
    assert not one(collector, "GET (none)").has_failed
    assert SECRET.encode() not in collector.raw


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({}, False),
        ({"OTEL_SERVICE_NAME": "x"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://x"}, True),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"}, False),
        ({"OTEL_SDK_DISABLED": "TRUE", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"}, False),
    ],
)
def test_the_environment_asks_for_them(given: dict[str, str], wanted: bool) -> None:
    assert is_wanted(given) is wanted


@pytest.mark.parametrize(
    "given",
    [
        {"OTEL_TRACES_EXPORTER": "zipkin"},
        {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
    ],
)
def test_what_there_is_not_is_told_by_name(given: dict[str, str]) -> None:
    with pytest.raises(UsageError, match=list(given)[-1]):
        is_wanted(given)


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("SELECT job.job_id \nFROM job WHERE x = 'FROM me'", ("SELECT", "job")),
        ('INSERT INTO "ivoa"."obscore" VALUES (1)', ("INSERT", "ivoa.obscore")),
        ("UPDATE job SET phase = 'x'", ("UPDATE", "job")),
        ("SELECT 'it''s FROM me', x FROM t", ("SELECT", "t")),
        ("BEGIN IMMEDIATE", ("BEGIN", "")),
        ("", ("", "")),
    ],
)
def test_of_a_statement_only_word_and_table_are_told(statement: str, told: tuple[str, str]) -> None:
    assert statement_name(statement) == told


def test_without_the_libraries_the_server_does_not_start(tmp_path: Path) -> None:
    words = ["skyloom", "serve", "--data-dir", str(tmp_path)]
    program = (
        "import sys; sys.modules['opentelemetry.sdk'] = None; "
        f"sys.argv = {words!r}; from app.cli import main; main()"
    )
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "COLUMNS": "300"}
    started = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert started.returncode == 2 and "pip install 'skyloom[otel]'" in started.stderr


def test_who_does_not_ask_loads_nothing() -> None:
    program = (
        "import sys; from app import traces; import app.main; traces.configure(); "
        "assert not traces.is_on(); "
        "assert not [name for name in sys.modules if name.startswith('opentelemetry.sdk')]"
    )
    subprocess.run(
        [sys.executable, "-c", program], env={}, cwd=Path(__file__).parents[2], check=True
    )

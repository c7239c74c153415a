"""What is logged and counted of each request."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.requests import ClientDisconnect
from starlette.testclient import TestClient
from starlette.types import Message, Receive, Scope, Send

from app.http.watching import Watch
from app.logs import JsonLines, PlainLines, about, facts, note
from app.operations.metrics import Metrics
from app.operations.state import ServerState
from app.wiring_database import now
from tests.http.access_matrix import routes_of
from tests.waiting import wait_for

QUERY = {"LANG": "ADQL", "FORMAT": "csv", "QUERY": "SELECT TOP 3 table_name FROM tap_schema.tables"}
SECRET = "c2VjcmV0"


def figures(client: TestClient) -> dict[tuple[str, ...], float]:
    """Every sample: its name and the values of its labels -> its value."""
    text = client.get("/metrics").text
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def logged(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """The lines of the access log."""
    return [facts(each) for each in caplog.records if each.name == "app.http.watching"]


def test_a_request_keeps_a_plain_identifier(client: TestClient) -> None:
    asked = client.get("/health", headers={"X-Request-ID": "job-7:retry.1"})
    assert asked.headers["x-request-id"] == "job-7:retry.1"


@pytest.mark.parametrize("bad", ["x" * 65, "two words", 'a"b', ""])
def test_an_identifier_that_is_long_or_odd_is_replaced(client: TestClient, bad: str) -> None:
    given = client.get("/health", headers={"X-Request-ID": bad}).headers["x-request-id"]
    assert given != bad and len(given) == 16


def test_a_line_of_the_log_for_each_request(
    client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "app")
    answer = client.get("/tap/sync", params=QUERY, headers={"X-Request-ID": "mine"})
    client.get(f"/files/{SECRET}/image.fits", params={"signature": SECRET})
    client.get(f"/unknown/{SECRET}")
    query, file, unknown = logged(caplog)
    assert query["request"] == "mine" and query["bytes"] == len(answer.content)
    assert (query["method"], query["route"], query["status"]) == ("GET", "/tap/sync", 200)
    assert file["route"] == file["path"] == "/files/{token}/{name}" and file["status"] == 403
    assert (unknown["route"], unknown["path"]) == ("(none)", "/unknown")
    assert SECRET not in caplog.text and "tap_schema" not in caplog.text


def test_what_a_job_logs_names_it(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "app")
    caplog.handler.addFilter(note)
    made = client.post("/tap/async", data={**QUERY, "PHASE": "RUN"}, follow_redirects=False)
    job = made.headers["location"].rsplit("/", 1)[1]
    ended = ("skyloom_job_seconds_count", "tap", "completed")
    wait_for(lambda: figures(client).get(ended, 0) >= 1)
    assert client.get(f"/tap/async/{job}/phase").text == "COMPLETED"
    about_it = [each for each in caplog.records if facts(each).get("job") == job]
    assert {each.name for each in about_it} >= {
        "app.services.jobs",
        "app.services.dispatcher",
        "app.http.watching",
    }
    assert figures(client)["skyloom_jobs", "tap", "COMPLETED"] >= 1


def test_figures_of_requests_and_rows(client: TestClient) -> None:
    count = ("skyloom_http_requests_total", "GET", "/tap/sync", "200")
    before = figures(client)
    answers = [client.get("/tap/sync", params=QUERY) for _ in range(3)]
    after = figures(client)
    grown = {name: value - before.get(name, 0) for name, value in after.items()}
    assert grown[count] == 3
    assert grown["skyloom_query_rows_total",] == 9
    assert grown["skyloom_query_seconds_count", "answered"] == 3
    assert grown["skyloom_http_request_seconds_count", "GET", "/tap/sync"] == 3
    sent = sum(len(each.content) for each in answers)
    assert grown["skyloom_http_sent_bytes_total", "/tap/sync"] == sent
    assert after["skyloom_database_connections", "own", "idle"] >= 1


def test_labels_are_not_of_the_clients_making(client: TestClient) -> None:
    before = len(figures(client))
    for number in range(40):
        client.get(f"/no/such/page/{number}")
        client.get(f"/tap/tables/t{number}")
        client.request(f"VERB{number}", "/tap/sync")
    series = {name for name in figures(client) if name[0] == "skyloom_http_requests_total"}
    assert {name[2] for name in series} >= {"(none)", "/tap/tables/{name}"}
    assert "other" in {name[1] for name in series}
    assert len(figures(client)) < before + 80


def test_methods_that_a_route_does_not_take_are_one(client: TestClient) -> None:
    for method in ("PUT", "DELETE", "POST"):
        assert client.request(method, "/ready").status_code == 405
    found = figures(client)
    assert found["skyloom_http_requests_total", "other", "/ready", "405"] >= 3
    assert not [name for name in found if name[1:3] in {("PUT", "/ready"), ("POST", "/ready")}]


def test_figures_stay_few_when_every_route_was_seen(client: TestClient) -> None:
    metrics = Metrics()
    routes = list(routes_of(client.app.routes))
    assert len(routes) > 200
    for route, method in routes:
        for status in (200, 303, 304, 400, 403, 404, 413, 422, 503):
            metrics.request_ended(method, route, status, 0.1, 1000, whole=False)
    assert len(metrics.text()) < 2000 * len(routes)


def test_figures_come_compressed_where_that_is_taken(client: TestClient) -> None:
    plain = client.get("/metrics", headers={"Accept-Encoding": "identity"})
    pressed = client.get("/metrics", headers={"Accept-Encoding": "gzip"})
    assert "content-encoding" not in plain.headers
    assert pressed.headers["content-encoding"] == "gzip" and "# TYPE skyloom_jobs" in pressed.text
    assert int(pressed.headers["content-length"]) < len(plain.content) / 4


def _scope() -> Scope:
    return {"type": "http", "method": "GET", "path": "/x", "headers": [], "path_params": {}}


def _count(metrics: Metrics, name: str) -> float:
    return metrics.registry.get_sample_value(name, {"route": "(none)"}) or 0.0


def test_a_stream_that_is_left_is_counted_when_it_ends() -> None:
    metrics, state = Metrics(), ServerState(clock=now)
    seen: list[int] = []

    async def endless(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(3):
            seen.append(state.in_flight)
            await send({"type": "http.response.body", "body": b"12345", "more_body": True})
        raise ClientDisconnect

    async def nowhere(_message: Message) -> None:
        pass

    async def nothing() -> Message:
        return {"type": "http.disconnect"}

    watch = Watch(endless, metrics=metrics, state=state, access_log=False)
    with pytest.raises(ClientDisconnect):
        asyncio.run(watch(_scope(), nothing, nowhere))
    assert seen == [1, 1, 1] and state.in_flight == 0
    assert _count(metrics, "skyloom_http_sent_bytes_total") == 15
    assert _count(metrics, "skyloom_http_hung_up_total") == 1


def _record(message: str, **fields: object) -> logging.LogRecord:
    record = logging.LogRecord("app.x", logging.INFO, "", 0, message, None, None)
    record.__dict__["fields"] = fields
    with about(job="j1"):
        note(record)
    return record


def test_lines_are_json_where_asked() -> None:
    told = json.loads(JsonLines().format(_record("a\nb", status=200)))
    assert (told["message"], told["level"], told["job"], told["status"]) == (
        "a\nb",
        "info",
        "j1",
        200,
    )
    assert told["time"].endswith("Z")


def test_nobody_begins_a_line_of_the_log_for_others() -> None:
    line = PlainLines().format(_record("one\ntwo \x1b[31m", path="/a\r\nb"))
    assert line.isprintable() and "one\\x0atwo" in line and "job=j1" in line

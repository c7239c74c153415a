"""Nothing that comes in by HTTP is answered as a fault of the service."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from benchmarks.fuzz_http import QUERY, requests, status_of
from tests.flows.service import Service
from tests.waiting import web


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    """A server over an empty database of each engine."""
    made = Service(data_dir=tmp_path_factory.mktemp("malformed"))
    if request.param == "postgres":
        server = request.getfixturevalue("postgres_server")
        url = server.create(template=request.getfixturevalue("postgres_template"))
        made.environment = {"SKYLOOM_DATABASE_URL": url}
    yield made.start()
    made.stop()


def test_no_request_makes_a_server_error(served: Service) -> None:
    made = web.post(f"{served.url}/tap/async", data={"QUERY": QUERY})
    job = str(made.headers["location"]).rsplit("/", 1)[1]
    statuses: list[int] = []
    for number, request in enumerate(requests(7, 500, job)):
        status = status_of(served.port, request)
        assert status is None or status < 500, (number, status, request.to_bytes()[:2000])
        if status is not None:
            statuses.append(status)
    assert len(statuses) > 400 and len(set(statuses)) >= 4
    answer = web.get(f"{served.url}/tap/sync", params={"LANG": "ADQL", "QUERY": QUERY})
    assert answer.status_code == 200
    assert "unexpected error" not in served.log() and "Traceback" not in served.log()

"""Nothing that comes in by HTTP is answered as a fault of the service."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from benchmarks.fuzz_http import QUERY, answer_of, requests
from tests.flows.service import Service
from tests.http.access_matrix import BUSY
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
    for number, request in enumerate(requests(7, 500, {"job_id": job})):
        status = answer_of(served.port, request).status
        assert status is None or status < 500 or status == BUSY, (
            number,
            status,
            request.to_bytes()[:2000],
        )
        if status is not None:
            statuses.append(status)
    assert len(statuses) > 400 and len(set(statuses)) >= 4
    answer = web.get(f"{served.url}/tap/sync", params={"LANG": "ADQL", "QUERY": QUERY})
    assert answer.status_code == 200
    assert "unexpected error" not in served.log() and "Traceback" not in served.log()


@pytest.mark.parametrize("text", ["a%00", "%ff"])
@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/images", "ID"),
        ("/previews", "ID"),
        ("/search", "BAND"),
        ("/query", "QUERY"),
        ("/sky", "POS"),
        ("/tap/sync", "QUERY"),
        ("/sia/query", "TARGET"),
        ("/psf", "ID"),
        ("/lightcurve", "POS"),
        ("/lightcurves", "POS"),
        ("/stamps", "POS"),
    ],
)
def test_what_is_no_text_is_refused(served: Service, path: str, name: str, text: str) -> None:
    answer = web.get(f"{served.url}{path}?{name}={text}")
    assert answer.status_code == 400
    assert "are no text" in answer.text or "UTF-8 text" in answer.text


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"ID=a%00", "application/x-www-form-urlencoded"),
        (b"ID=%ff", "application/x-www-form-urlencoded"),
        (b"KERNEL_ORDER=" + b"9" * 5000 + b"&ID=a", "application/x-www-form-urlencoded"),
        (b"ID=" + b"a" * 5_000_000, "application/x-www-form-urlencoded"),
        (b"junk", "multipart/form-data; boundary=b"),
    ],
)
def test_a_form_that_cannot_be_read_makes_no_job(served: Service, body: bytes, kind: str) -> None:
    url = f"{served.url}/jobs/difference"
    answer = web.post(url, content=body, headers={"content-type": kind})
    assert answer.status_code == 400
    assert "text/html" in answer.headers["content-type"], answer.text

"""What one account may take of rows, uploads, builds and room, and what it is told beyond that."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from astropy.table import Table
from starlette.testclient import TestClient

from app.config import Config
from app.main import create_app
from app.stores.metadata import open_stores
from app.wiring_database import initialise, open_tokens
from tests.services.survey import Exposure, dataset_row, write_exposure
from tests.waiting import PATIENCE_S
from tests.xsd import assert_valid_votable

ROWS, MORE_ROWS = 2, 4
BYTES, MORE_BYTES = 3000, 6000
PIXELS = 100_000
STORAGE = 9000
QUERY = {"LANG": "ADQL", "QUERY": "SELECT obs_publisher_did FROM ivoa.ObsCore", "MAXREC": "1000"}
IMAGE = Exposure(visit=1).dataset_id


@dataclass(frozen=True)
class Service:
    """A client of a service, and how ada asks."""

    client: TestClient
    ada: dict[str, str]
    root: dict[str, str]
    url: str

    def run(self, path: str, asked: dict[str, str], headers: dict[str, str]) -> str:
        """Run a job to its end; its address."""
        made = self.client.post(path, data={**asked, "PHASE": "RUN"}, headers=headers)
        assert made.status_code == 303, made.text
        job = made.headers["location"]
        waited = self.client.get(f"{job}?WAIT={PATIENCE_S:.0f}", headers=headers)
        while re.search(">(QUEUED|EXECUTING)<", waited.text):
            waited = self.client.get(f"{job}?WAIT={PATIENCE_S:.0f}", headers=headers)
        return job


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Six exposures; little is allowed."""
    folder = tmp_path_factory.mktemp("allowances")
    config = Config(
        data_dir=folder / "data",
        workers=1,
        anonymous_rows=ROWS,
        user_rows=MORE_ROWS,
        anonymous_upload_bytes=BYTES,
        user_upload_bytes=MORE_BYTES,
        anonymous_build_pixels=PIXELS,
        user_storage_bytes=STORAGE,
    )
    initialise(config)
    (folder / "images").mkdir()
    stores = open_stores(config.effective_database_url)
    exposures = [Exposure(visit=visit, mjd=60000 + visit) for visit in range(1, 7)]
    stores.datasets.upsert(
        [dataset_row(write_exposure(folder / "images", each), each) for each in exposures]
    )
    stores.close()
    with open_tokens(config) as tokens:
        ada, root = (
            {"Authorization": f"Bearer {tokens.create(name, role=role, collections=(), days=1)}"}
            for name, role in (("ada", "user"), ("root", "operator"))
        )
    with TestClient(create_app(config), follow_redirects=False) as client:
        yield Service(client, ada, root, config.effective_database_url)


def held(service: Service) -> int:
    """Bytes that the jobs of the client without a token hold."""
    stores = open_stores(service.url)
    try:
        return stores.jobs.held_bytes("@testclient")
    finally:
        stores.close()


def rows_of(text: str) -> int:
    """How many rows a VOTable in TABLEDATA or a CSV has."""
    return text.count("ivo://test.local/field?")


def test_rows_of_an_answer(service: Service) -> None:
    asked = {**QUERY, "RESPONSEFORMAT": "votable/td"}
    for headers, most in (({}, ROWS), (service.ada, MORE_ROWS), (service.root, 6)):
        for path, query in (("/tap/sync", asked), ("/sia/query", {"RESPONSEFORMAT": "votable/td"})):
            answer = service.client.get(path, params=query, headers=headers)
            found = re.findall(r"<TR>", answer.text)
            assert (path, len(found)) == (path, most)
            assert ('value="OVERFLOW"' in answer.text) == (most < 6)
        told = service.client.get("/tap/capabilities", headers=headers).text
        limit = re.search(r"<outputLimit>.*?<hard[^>]*>(\d+)</hard>", told)
        assert limit is not None
        assert int(limit[1]) == (most if most < 6 else 1_000_000)
    for headers, most in (({}, ROWS), (service.ada, MORE_ROWS)):
        job = service.run("/tap/async", asked, headers)
        result = service.client.get(f"{job}/results/result", headers=headers)
        assert rows_of(result.text) == most
        service.client.delete(job, headers=headers)


def table_of(size: int) -> bytes:
    """A VOTable of about so many bytes."""
    kept = io.BytesIO()
    Table({"name": ["x" * size]}).write(kept, format="votable", tabledata_format="tabledata")
    return kept.getvalue()


def test_bytes_of_uploaded_tables(service: Service) -> None:
    asked = {"LANG": "ADQL", "QUERY": "SELECT * FROM TAP_UPLOAD.t", "UPLOAD": "t,param:t"}
    for headers, size, limit in (
        ({}, 500, None),
        ({}, 2500, BYTES),
        (service.ada, 2500, None),
        (service.ada, 5500, MORE_BYTES),
        (service.root, 5500, None),
    ):
        files = {"t": ("t.xml", table_of(size))}
        answer = service.client.post("/tap/sync", data=asked, files=files, headers=headers)
        assert answer.status_code == (200 if limit is None else 400), answer.text
        if limit is not None:
            assert f"The limit of bytes in uploaded tables is {limit}; asked for" in answer.text
            assert_valid_votable(answer.content)
        told = service.client.get("/tap/capabilities", headers=headers).text
        most = {BYTES: BYTES, MORE_BYTES: MORE_BYTES}.get(limit or 0)
        if most:
            assert f'<hard unit="byte">{most}</hard></uploadLimit>' in told


def test_pixels_of_a_build(service: Service) -> None:
    told = f"of one build of yours is {PIXELS}; asked for"
    for path in ("/builds/difference/sync", "/builds/template/sync", "/differences"):
        refused = service.client.get(path, params={"ID": IMAGE})
        assert refused.status_code == 400
        assert refused.text.startswith("UsageError: The limit of pixels (target times images)")
        assert told in refused.text
    plan = {"ID": IMAGE, "PLAN": "true", "RESPONSEFORMAT": "json"}
    assert service.client.get("/builds/difference/sync", params=plan).status_code == 400
    known = service.client.get("/builds/difference/sync", params=plan, headers=service.ada)
    assert known.json()["summary"]["built"] is False
    job = service.run("/builds/difference/async", {"ID": IMAGE}, {})
    assert service.client.get(f"{job}/phase").text == "ERROR"
    assert told in service.client.get(f"{job}/error").text


def test_room_for_jobs(service: Service) -> None:
    ada, client = service.ada, service.client
    told = f"The limit of bytes that one client's jobs hold is {STORAGE}; delete jobs, or try again"
    large = {**QUERY, "QUERY": "SELECT * FROM ivoa.ObsCore", "RESPONSEFORMAT": "votable/td"}
    failed = service.run("/tap/async", large, ada)
    assert client.get(f"{failed}/phase", headers=ada).text == "ERROR"
    assert told in client.get(f"{failed}/error", headers=ada).text
    brought = {"LANG": "ADQL", "QUERY": "SELECT * FROM TAP_UPLOAD.t", "UPLOAD": "t,param:t"}
    files = {"t": ("t.xml", table_of(4500))}
    first = client.post("/tap/async", data=brought, files=files, headers=ada)
    assert first.status_code == 303
    small = client.post("/tap/async", data=QUERY, headers=ada).headers["location"]
    for path in ("/tap/async", small, f"{small}/parameters"):
        refused = client.post(path, data=brought, files=files, headers=ada)
        assert refused.status_code == 503
        assert told in refused.text
        assert 6 * 86400 < int(refused.headers["Retry-After"]) <= 7 * 86400
        assert_valid_votable(refused.content)
    assert client.post("/tap/async", data=brought, files=files).status_code == 400  # too many bytes
    assert client.post("/tap/async", data=QUERY).status_code == 303  # of another account
    client.delete(first.headers["location"], headers=ada)
    assert client.post("/tap/async", data=brought, files=files, headers=ada).status_code == 303


def test_results_count_until_their_job_is_deleted(service: Service) -> None:
    job = service.run("/tap/async", {**QUERY, "RESPONSEFORMAT": "csv"}, {})
    assert service.client.get(f"{job}/phase").text == "COMPLETED"
    size = len(service.client.get(f"{job}/results/result").content)
    assert held(service) == size > 0
    service.client.delete(job)
    assert held(service) == 0

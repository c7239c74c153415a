"""The link of a difference: what it answers before, while and after it is built."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from astropy.io import fits
from astropy.io.votable import parse
from astropy.table import Table
from starlette.testclient import TestClient

from app.schema.rows import difference_path, virtual_id
from app.uws.job import Phase
from app.workers.embedded import EmbeddedEngine
from tests.services.builds_fixture import Field, open_field, standard_field
from tests.services.survey import Exposure, standard_exposures
from tests.services.test_builds_http import serving
from tests.waiting import wait_for
from tests.xsd import assert_valid_votable

SCIENCE = standard_exposures()[4]
PROMISED = str(virtual_id(SCIENCE.dataset_id))
BROWSER = {"Accept": "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"}


@pytest.fixture
def listed(field: Field) -> Field:
    """The standard exposures with the list of their differences."""
    field.listing.update()
    return field


@pytest.fixture
def client(listed: Field) -> Iterator[TestClient]:
    """Requests wait until what they ask for is built."""
    with serving(listed) as made:
        yield made


def link(client: TestClient, dataset_id: str, semantics: str = "#this") -> Any:
    """The first link of a kind."""
    answer = client.get("/datalink/links", params={"ID": dataset_id})
    assert_valid_votable(answer.content)
    table: Table = parse(io.BytesIO(answer.content)).get_first_table().to_table()
    assert set(map(str, table["ID"])) == {dataset_id}
    return next(row for row in table if row["semantics"] == semantics)


def content(client: TestClient, url: str) -> bytes:
    """What a chain of links ends with."""
    answer = client.get(url, follow_redirects=True)
    assert answer.status_code == 200, answer.text
    return answer.content


def test_the_first_use_builds_and_the_next_ones_do_not(client: TestClient, listed: Field) -> None:
    this = link(client, PROMISED)
    assert "built on first use" in str(this["description"])
    assert this["content_type"] == "application/fits" and not this["content_length"]
    assert link(client, PROMISED, "#progenitor")["access_url"] is not None
    first = client.get(str(this["access_url"]))
    assert first.status_code == 303 and "/files/" in first.headers["location"]
    assert first.headers["content-type"].startswith("text/plain")  # as described
    file = content(client, first.headers["location"])
    with fits.open(io.BytesIO(file)) as hdus:
        product = hdus[0].header["OBSPUBID"]
    assert content(client, str(this["access_url"])) == file
    assert content(client, f"/differences?id={SCIENCE.dataset_id}") == file
    assert listed.engine.submitted == [product]
    after = link(client, PROMISED)
    assert content(client, str(after["access_url"])) == file
    assert after["content_length"] == len(file)
    assert link(client, product)["description"] == after["description"]


def test_head_builds_nothing(client: TestClient, listed: Field) -> None:
    url = f"/differences?ID={PROMISED}"
    head = client.head(url)
    assert head.status_code == 200
    assert head.headers["content-type"] == "application/fits"
    assert head.headers["x-skyloom-build-state"] == "buildable"
    assert listed.jobs.list_jobs("difference") == [] and listed.engine.submitted == []
    content(client, url)
    assert client.head(url).status_code == 303
    assert client.head(url, follow_redirects=True).headers["x-skyloom-build-state"] == "built"


@pytest.mark.parametrize(
    ("asked", "status", "told"),
    [
        ({}, 400, "ID"),
        ({"ID": "ivo://no/such?one"}, 404, "ivo://no/such?one"),
        ({"ID": "ivo://no/products?difference-of/such:one"}, 404, "ivo://no/such?one"),
        ({"ID": standard_exposures()[5].dataset_id}, 422, "No image of band z"),
    ],
)
def test_what_is_not_there_and_cannot_be_built_says_why(
    client: TestClient, listed: Field, asked: dict[str, str], status: int, told: str
) -> None:
    for method in ("GET", "HEAD"):
        answer = client.request(method, "/differences", params=asked)
        assert answer.status_code == status, answer.text
    assert told in client.get("/differences", params=asked).text
    assert listed.jobs.list_jobs("difference") == []


def test_a_build_that_fails_says_why(client: TestClient, listed: Field) -> None:
    sparse = [Exposure(visit=n, band="y", stars=0, mjd=60200 + n) for n in range(20, 23)]
    listed.add(*sparse)
    listed.listing.update()
    for _ in range(2):
        answer = client.get("/differences", params={"ID": sparse[0].dataset_id})
        assert answer.status_code == 422
        assert answer.text.startswith("Error: ") and "stamps" in answer.text
    assert len(listed.engine.submitted) == 1


def test_two_at_once_share_one_build(client: TestClient, listed: Field) -> None:
    together = threading.Barrier(2)

    def ask(_: int) -> bytes:
        together.wait(60)
        return content(client, f"/differences?ID={PROMISED}")

    with ThreadPoolExecutor(2) as threads:
        files = list(threads.map(ask, range(2)))
    assert files[0] == files[1]
    assert len(listed.engine.submitted) == 1


def test_a_build_that_takes_longer_is_told_of(tmp_path: Path, engine: EmbeddedEngine) -> None:
    """No dispatcher runs, so that the job surely is not done."""
    with open_field(tmp_path, engine) as field:
        standard_field(field)
        field.listing.update()
        field.dispatcher.stop()
        with serving(field, wait_s=0.0) as client:
            url = f"/differences?ID={PROMISED}"
            answer = client.get(url)
            (job,) = field.jobs.list_jobs("difference")
            assert answer.status_code == 202
            assert answer.headers["location"].endswith(f"/builds/difference/async/{job.job_id}")
            assert int(answer.headers["retry-after"]) >= 1
            assert "QUEUED" in answer.text and difference_path(PROMISED) in answer.text
            assert client.get(answer.headers["location"]).status_code == 200
            page = client.get(url, headers=BROWSER)
            assert page.status_code == 303
            assert page.headers["location"].endswith(f"/jobs/difference/{job.job_id}")
            assert field.jobs.list_jobs("difference")[0].job_id == job.job_id
            field.dispatcher.start()
            wait_for(lambda: field.jobs.get(job.job_id).phase is Phase.COMPLETED)
            assert client.get(url).status_code == 303


def test_programs_that_follow_redirects_get_the_file(
    tmp_path: Path, engine: EmbeddedEngine
) -> None:
    """As astropy and curl -L do; nothing is built before the dispatcher runs."""
    with open_field(tmp_path, engine) as field:
        standard_field(field)
        field.listing.update()
        field.dispatcher.stop()
        with serving(field, wait_s=0.05) as client:
            url = f"/differences?ID={PROMISED}"
            answers = [client.get(url)]
            while answers[-1].status_code == 303:
                assert len(answers) < 10  # urllib gives up then
                answers.append(client.get(answers[-1].headers["location"]))
            (job,) = field.jobs.list_jobs("difference")
            assert len(answers) == 9 and all(job.job_id in each.text for each in answers)
            assert answers[-1].status_code == 503  # astropy would keep what comes with 202
            assert int(answers[-1].headers["retry-after"]) >= 1
            assert answers[-1].headers["cache-control"] == "no-store"
            assert client.get(f"{url}&ROUND=x").status_code == 400
            field.dispatcher.start()
            wait_for(lambda: field.jobs.get(job.job_id).phase is Phase.COMPLETED)
            for each in answers[:-1]:
                file = client.get(each.headers["location"])
                assert file.status_code == 303 and "/files/" in file.headers["location"]


def test_a_stale_product_warns_and_its_link_builds_a_new_one(
    client: TestClient, listed: Field
) -> None:
    old = content(client, f"/differences?ID={PROMISED}")
    (product,) = listed.engine.submitted
    changed = standard_exposures()[0]
    listed.add(replace(changed, seed=7))
    this = link(client, product)
    assert f"STALE: the template input {changed.dataset_id} was changed" in str(this["description"])
    file = client.get(str(this["access_url"]))
    assert file.headers["x-skyloom-build-state"] == "stale" and file.content == old
    listed.listing.update()
    assert ", about " in str(link(client, PROMISED)["description"])
    assert content(client, f"/differences?ID={PROMISED}") != old
    assert len(listed.engine.submitted) == 2
    assert "STALE" not in str(link(client, PROMISED)["description"])


def test_the_services_of_a_product_take_its_promise(client: TestClient, listed: Field) -> None:
    asked = {"ID": PROMISED, "X": "100", "Y": "100", "RESPONSEFORMAT": "json"}
    before = client.get("/psf", params=asked)
    assert before.status_code == 400 and "not built" in before.text
    content(client, f"/differences?ID={PROMISED}")
    after = client.get("/psf", params=asked)
    assert after.status_code == 200, after.text
    assert after.json()["obs_publisher_did"] == listed.engine.submitted[0]


def test_light_curves_measure_what_is_built_and_current(client: TestClient, listed: Field) -> None:
    def rows() -> int:
        asked = {"POS": "150 2", "KIND": "difference", "RESPONSEFORMAT": "csv"}
        answer = client.get("/lightcurve", params=asked)
        assert answer.status_code == 200, answer.text
        return len(answer.text.splitlines()) - 1

    assert rows() == 0
    content(client, f"/differences?ID={PROMISED}")
    assert rows() == 1
    listed.add(replace(standard_exposures()[0], seed=7))
    assert rows() == 0

"""Jobs of cutouts: one result for each combination, each with its pixels or its own error."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from astropy.io import fits
from lxml import etree
from starlette.testclient import TestClient

from tests.services.soda_images import (
    CIRCLE,
    CUBE,
    PLAIN,
    TILED,
    cut,
    published,
    serving,
)
from tests.waiting import wait_for

UWS = "{http://www.ivoa.net/xml/UWS/v1.0}"
HREF = "{http://www.w3.org/1999/xlink}href"
FAR = "10 10 0.1"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A client of all images."""
    folder: Path = tmp_path_factory.mktemp("soda")
    with published(folder) as stores, serving(folder, stores) as made:
        yield made


def run(client: TestClient, **parameters: Any) -> tuple[str, str]:
    """The address of a job that has ended, and its phase."""
    made = client.post("/soda/async", data={**parameters, "PHASE": "RUN"})
    assert made.status_code == 303, made.text
    url = made.headers["location"]
    ended = {"COMPLETED", "ERROR", "ABORTED"}
    wait_for(lambda: client.get(f"{url}/phase").text in ended)
    return url, client.get(f"{url}/phase").text


def results(client: TestClient, url: str) -> list[Any]:
    """The answers behind the results of a job, in their order."""
    root = etree.fromstring(client.get(f"{url}/results").content)
    found = root.findall(f"{UWS}result")
    assert [each.get("id") for each in found] == [
        f"cutout-{number}" for number in range(1, len(found) + 1)
    ]
    return [client.get(each.get(HREF)) for each in found]


def test_one_result_for_each_combination(client: TestClient) -> None:
    url, phase = run(
        client,
        ID=[PLAIN.dataset_id, TILED.dataset_id, "ivo://x/y"],
        CIRCLE=[CIRCLE, FAR],
        PIXELS="0 9 0 9",
        EXT="image",
    )
    assert phase == "COMPLETED"
    answers = results(client, url)
    assert len(answers) == 9
    for first, dataset_id in ((0, PLAIN.dataset_id), (3, TILED.dataset_id)):
        there, far, corner = answers[first : first + 3]
        assert there.headers["content-type"] == "application/fits"
        alone = client.get(
            "/soda/sync", params={"ID": dataset_id, "CIRCLE": CIRCLE, "EXT": "image"}
        )
        assert there.content == alone.content
        assert far.headers["content-type"].startswith("text/plain")
        assert far.text.startswith("UsageError: ") and FAR in far.text
        with fits.open(io.BytesIO(corner.content)) as found:
            assert found["IMAGE"].shape == (10, 10)
    assert all(each.text.startswith("UsageError: ") for each in answers[6:])


def test_bands_and_states_of_a_cube(client: TestClient) -> None:
    url, phase = run(client, ID=CUBE, BAND=["2.9979e-3", "2.80e-3 2.95e-3"], POL=["Q", "U"])
    assert phase == "COMPLETED"
    shapes = []
    for each in results(client, url):
        with fits.open(io.BytesIO(each.content)) as found:
            shapes.append(found[0].shape)
    assert shapes == [(2, 1, 20, 30), (2, 6, 20, 30)]


def test_pictures(client: TestClient) -> None:
    url, _ = run(client, ID=PLAIN.dataset_id, CIRCLE=[CIRCLE, FAR], RESPONSEFORMAT="png", SIZE="64")
    there, far = results(client, url)
    assert there.headers["content-type"] == "image/png" and there.content[1:4] == b"PNG"
    assert far.headers["content-type"].startswith("text/plain")


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"CIRCLE": "1 2"}, ("CIRCLE", "3 numbers")),
        ({"POL": "FOO"}, ("POL", "FOO")),
        ({"ID": ""}, ("ID", "required")),
        ({"RESPONSEFORMAT": "tiff"}, ("RESPONSEFORMAT", "png")),
        ({"STRETCH": "log"}, ("STRETCH", "png")),
        ({"CIRCLE": [f"1 1 {n}" for n in range(1, 41)], "TIME": list(range(1, 41))}, ("1000",)),
    ],
)
def test_what_cannot_be_read_ends_the_job(
    client: TestClient, asked: dict[str, Any], words: tuple[str, ...]
) -> None:
    url, phase = run(client, **{"ID": PLAIN.dataset_id, **asked})
    assert phase == "ERROR"
    told = client.get(f"{url}/error")
    assert told.status_code == 200 and told.text.startswith("UsageError: ")
    assert all(word in told.text for word in words), told.text


def test_sync_points_to_async(client: TestClient) -> None:
    asked = {"ID": PLAIN.dataset_id, "CIRCLE": [CIRCLE, FAR]}
    answer = client.get("/soda/sync", params=asked)
    assert answer.status_code == 400 and "/soda/async" in answer.text
    assert cut(client, CIRCLE=CIRCLE)["IMAGE"].data.size > 0

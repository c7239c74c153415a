"""Triplets whose differences and templates are built when they are asked for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from astropy.table import Table
from numpy.testing import assert_array_equal
from starlette.testclient import TestClient

from tests.services.builds_fixture import Field
from tests.services.survey import Exposure, standard_exposures
from tests.services.test_builds_http import serving
from tests.services.test_stamps_http import PLACE, SCIENCE, expected, triplets

FIRST = standard_exposures()[0]
LONELY = Exposure(visit=21, band="y", mjd=60021)


@pytest.fixture
def listed(field: Field) -> Field:
    """The standard exposures, and one that no template can be made for."""
    field.add(LONELY)
    field.listing.update()
    return field


@pytest.fixture
def client(listed: Field) -> Iterator[TestClient]:
    """Requests wait until what they ask for is built."""
    with serving(listed) as made:
        yield made


def test_what_is_missing_is_built_when_asked_for(field: Field, client: TestClient) -> None:
    asked = {"ID": [FIRST.dataset_id, LONELY.dataset_id, SCIENCE.dataset_id]}
    before = triplets(client, **asked)
    assert list(before["EPOCHS"].data["difference"]) == [False] * 3
    found = triplets(client, **asked, BUILD="true")
    table = Table(found["EPOCHS"].data)
    assert list(table["science_did"]) == asked["ID"]
    assert list(table["difference"]) == list(table["template"]) == [True, False, True]
    assert list(table["template_origin"]) == ["alike", "", "matched"]
    assert "No image of band y" in table["note"][1]
    matched = found["TEMPLATE", 3]
    row = field.stores.datasets.get(matched.header["OBSPUBID"])
    assert row.columns["dataproduct_subtype"] == "lsst.template_matched"
    assert_array_equal(matched.data, expected(row.file_path, 1))
    assert found["TEMPLATE_VARIANCE", 3].shape == matched.shape
    submitted = len(field.engine.submitted)
    again = triplets(client, **asked, BUILD="true")
    assert again["EPOCHS"].data.tolist() == found["EPOCHS"].data.tolist()
    assert len(field.engine.submitted) == submitted == 4


def test_who_cannot_wait_is_told_to_come_back(listed: Field) -> None:
    listed.dispatcher.stop()
    asked: dict[str, Any] = {"POS": PLACE, "ID": SCIENCE.dataset_id, "BUILD": "true"}
    with serving(listed, wait_s=0.0) as client:
        at_once = client.get("/stamps", params=asked)
        assert at_once.status_code == 202 and int(at_once.headers["retry-after"]) > 0
        assert "0 of 2 images are built" in at_once.text
        assert client.head("/stamps", params=asked).status_code == 200
    with serving(listed, wait_s=0.01) as client:
        again = client.get("/stamps", params=asked)
        assert again.status_code == 303 and again.headers["location"].endswith("&ROUND=1")
        posted = client.post("/stamps", data=asked)
        assert posted.status_code == 503 and int(posted.headers["retry-after"]) > 0
        last = client.get("/stamps", params={**asked, "ROUND": "8"})
        assert last.status_code == 503
        listed.dispatcher.start()
        jobs = [line.rpartition("/")[2] for line in last.text.splitlines() if "async" in line]
        for job_id in jobs:
            listed.ended(job_id)
        done = client.get(again.headers["location"])
        assert done.status_code == 200 and done.headers["content-type"] == "application/fits"


def test_a_stale_difference_is_shown_and_built_anew(listed: Field, client: TestClient) -> None:
    listed.run("difference", ID=SCIENCE.dataset_id)
    listed.add(replace(FIRST, seed=7))
    found = triplets(client, ID=SCIENCE.dataset_id)
    assert "stale" in found["EPOCHS"].data["note"][0]
    old = found["DIFFERENCE", 1].header["OBSPUBID"]
    fresh = triplets(client, ID=SCIENCE.dataset_id, BUILD="true")
    assert fresh["DIFFERENCE", 1].header["OBSPUBID"] != old
    assert not fresh["EPOCHS"].data["note"][0]


def test_a_template_of_the_place_stands_in_where_nothing_was_subtracted(
    listed: Field, client: TestClient
) -> None:
    """A patch's, resampled to the pixels and brought to the flux scale of the science image."""
    job = listed.run("template", POS=PLACE, BAND="i", TIME="60000 60050")
    found = triplets(client, ID=SCIENCE.dataset_id, SIZE="121px")
    template, science = found["TEMPLATE", 1], found["SCIENCE", 1]
    assert template.header["TMPLFROM"] == "coadd"
    assert template.header["OBSPUBID"] == job.results[0].dataset_id
    assert template.shape == science.shape and template.header["CRPIX1"] == science.header["CRPIX1"]
    y, x = np.unravel_index(np.nanargmax(template.data), science.shape)
    around = np.s_[max(0, y - 6) : y + 7, max(0, x - 6) : x + 7]
    fluxes = [np.nansum(unit.data[around]) for unit in (science, template)]
    assert fluxes[1] == pytest.approx(fluxes[0], rel=0.1)


def test_too_many_builds_are_refused(
    listed: Field, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.services.stamp_builds.MAX_BUILDS", 1)
    answer = client.get("/stamps", params={"POS": PLACE, "BAND": "i", "BUILD": "true"})
    assert answer.status_code == 400
    assert "BUILD" in answer.text and "asked for 5" in answer.text


def test_a_matched_template_is_what_the_difference_lacks(field: Field, client: TestClient) -> None:
    """By the difference without the filter that makes noise white, of the same kernel."""
    options = {"DECORRELATE": "false", "CONVOLVE": "template"}
    name = field.run("difference", ID=SCIENCE.dataset_id, **options).results[0].dataset_id
    field.run("difference", ID=SCIENCE.dataset_id, PRODUCT="matched")
    found = triplets(client, ID=str(name), SIZE="81px")
    assert found["DIFFERENCE", 1].header["OBSPUBID"] == name
    assert found["TEMPLATE", 1].header["TMPLFROM"] == "matched"
    science, template, difference = (
        found[each, 1].data.astype(np.float64) for each in ("SCIENCE", "TEMPLATE", "DIFFERENCE")
    )
    left = science - template - difference
    y, x = np.mgrid[: left.shape[0], : left.shape[1]]
    good = np.isfinite(left)
    terms = np.stack([np.ones(good.sum()), x[good], y[good]], axis=1)
    background = terms @ np.linalg.lstsq(terms, left[good], rcond=None)[0]
    assert np.abs(left[good] - background).max() < 1e-5 * np.nanmax(science)

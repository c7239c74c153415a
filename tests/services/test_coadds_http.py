"""Templates for an image from the coadds of patches, over HTTP."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from starlette.testclient import TestClient

from app.workers.embedded import EmbeddedEngine
from tests.services.builds_fixture import Field, open_field, standard_field
from tests.services.survey import CENTRE, Exposure, standard_exposures
from tests.services.test_builds import select
from tests.services.test_builds_http import DIFFERENCE, TEMPLATE, serving

POSITION = f"{CENTRE[0]} {CENTRE[1]}"
SCIENCE = standard_exposures()[4]
OTHERS = "60000 60050"
"""MJD of every exposure but the science image."""


@pytest.fixture(scope="module")
def field(tmp_path_factory: pytest.TempPathFactory, engine: EmbeddedEngine) -> Iterator[Field]:
    """The standard exposures, published, and nothing built."""
    with open_field(tmp_path_factory.mktemp("coadds"), engine) as opened:
        standard_field(opened)
        yield opened


@pytest.fixture(scope="module")
def client(field: Field) -> Iterator[TestClient]:
    """A client of it."""
    with serving(field) as made:
        yield made


def build(client: TestClient, where: str, **parameters: str) -> tuple[str, fits.HDUList]:
    """Identifier and content of a product."""
    answer = client.get(f"{where}/sync", params=parameters)
    assert answer.status_code == 200, answer.text
    return answer.headers["x-skyloom-dataset"], fits.open(io.BytesIO(answer.content))


def used(hdus: fits.HDUList) -> list[str]:
    """The template inputs that took part."""
    return [
        row["dataset_id"]
        for row in hdus["INPUTS"].data
        if row["role"] == "template" and not row["rejected"]
    ]


def test_without_coadds_the_patches_to_be_built_are_named(client: TestClient) -> None:
    asked = {"ID": SCIENCE.dataset_id, "INPUTS": "coadds"}
    for where in (TEMPLATE, DIFFERENCE):
        answer = client.get(f"{where}/sync", params=asked)
        assert 400 <= answer.status_code < 500
        assert "TRACT=" in answer.text and "PATCH=" in answer.text


def plan(client: TestClient, **parameters: str) -> dict[str, Any]:
    """The plan of a template of coadds."""
    asked = {"INPUTS": "coadds", "PLAN": "true", "RESPONSEFORMAT": "json", **parameters}
    answer = client.get(f"{TEMPLATE}/sync", params=asked)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def test_patches_that_lack_a_coadd_are_named(client: TestClient, field: Field) -> None:
    z_images = [Exposure(visit=60 + n, band="z", mjd=60300 + n) for n in range(3)]
    field.add(*z_images)
    science = z_images[0].dataset_id
    others = "60300.5 60400"
    build(client, TEMPLATE, POS=POSITION, BAND="z", TIME=others)
    missing = plan(client, ID=science)["missing"]
    assert len(missing) == 3, "four patches meet in the field"
    for where in (TEMPLATE, DIFFERENCE):
        answer = client.get(f"{where}/sync", params={"ID": science, "INPUTS": "coadds"})
        named = [f"TRACT={each['tract']} PATCH={each['patch']}" for each in missing]
        assert answer.headers["x-skyloom-missing"] == ", ".join(named)
        (row,) = select(
            field,
            "SELECT missing_patches, coverage, statistic FROM skyloom.build_quality "
            f"WHERE obs_publisher_did = '{answer.headers['x-skyloom-dataset']}'",
        )
        listed = " ".join(f"{each['tract']}/{each['patch']}" for each in missing)
        assert (row["missing_patches"], row["statistic"]) == (listed, None)
        assert row["coverage"] < 0.9

    for count, each in enumerate(missing, start=1):
        there = {name.upper(): str(number) for name, number in each.items()}
        build(client, TEMPLATE, BAND="z", TIME=others, **there)
        assert plan(client, ID=science)["missing"] == missing[count:]
    whole = client.get(f"{TEMPLATE}/sync", params={"ID": science, "INPUTS": "coadds"})
    assert "x-skyloom-missing" not in whole.headers
    with fits.open(io.BytesIO(whole.content)) as hdus:
        assert hdus[0].header["COVERAGE"] > 0.94


def test_template_and_difference_from_the_coadds_under_an_image(client: TestClient) -> None:
    coadd, _ = build(client, TEMPLATE, POS=POSITION, BAND="i", TIME=OTHERS)
    name, hdus = build(client, TEMPLATE, ID=SCIENCE.dataset_id, INPUTS="coadds")
    assert used(hdus) == [coadd] and name != coadd
    flux = hdus["IMAGE"].data
    assert np.isfinite(flux).mean() > 0.5
    _, stacked = build(client, TEMPLATE, ID=SCIENCE.dataset_id, TIME=OTHERS)
    both = np.isfinite(flux) & np.isfinite(stacked["IMAGE"].data)
    both &= (hdus["MASK"].data == 0) & (stacked["MASK"].data == 0)
    apart = (flux - stacked["IMAGE"].data)[both] / np.sqrt(stacked["VARIANCE"].data[both])
    assert np.median(np.abs(apart)) < 0.5, "the same exposures, resampled twice"

    listed, _ = build(client, TEMPLATE, ID=SCIENCE.dataset_id, TEMPLATE_IDS=coadd)
    assert listed == name, "the same recipe"

    _, difference = build(client, DIFFERENCE, ID=SCIENCE.dataset_id, INPUTS="coadds")
    assert used(difference) == [coadd]
    assert difference[0].header["PULLSIG"] == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("more", [{"INPUTS": "coadds"}, {"TIME": OTHERS}], ids=["coadds", "stack"])
def test_a_border_goes_around_the_pixels_of_the_image(
    client: TestClient, more: dict[str, str]
) -> None:
    build(client, TEMPLATE, POS=POSITION, BAND="i", TIME=OTHERS)
    _, plain = build(client, TEMPLATE, ID=SCIENCE.dataset_id, **more)
    _, wide = build(client, TEMPLATE, ID=SCIENCE.dataset_id, BORDER="12", **more)
    ny, nx = plain["IMAGE"].shape
    assert wide["IMAGE"].shape == (ny + 24, nx + 24)
    for axis in (1, 2):
        there, here = (hdus["IMAGE"].header[f"CRPIX{axis}"] for hdus in (plain, wide))
        assert here == there + 12
        assert wide["IMAGE"].header[f"LTV{axis}"] == 12
    same = wide["IMAGE"].data[12:-12, 12:-12] - plain["IMAGE"].data
    both = np.isfinite(same)
    assert both.mean() > 0.5
    assert np.abs(same[both] / np.sqrt(plain["VARIANCE"].data[both])).max() < 0.1
    assert np.isfinite(wide["IMAGE"].data).sum() > np.isfinite(plain["IMAGE"].data).sum()


def test_a_coadd_that_holds_the_science_exposure_is_passed_over(client: TestClient) -> None:
    older, _ = build(client, TEMPLATE, POS=POSITION, BAND="i", TIME=OTHERS)
    newer, _ = build(client, TEMPLATE, POS=POSITION, BAND="i", STATISTIC="mean")
    _, difference = build(
        client, DIFFERENCE, ID=SCIENCE.dataset_id, INPUTS="coadds", KERNEL_ORDER="1"
    )
    assert used(difference) == [older]
    _, template = build(client, TEMPLATE, ID=SCIENCE.dataset_id, INPUTS="coadds", KERNEL="bilinear")
    assert used(template) == [newer]


def test_a_plan_of_coadds_tells_which_are_taken(client: TestClient) -> None:
    build(client, TEMPLATE, POS=POSITION, BAND="i", TIME=OTHERS)
    told = plan(client, ID=SCIENCE.dataset_id)
    assert told["summary"]["n_inputs"] == len(told["inputs"]) == 1


@pytest.mark.parametrize(
    ("parameters", "named"),
    [
        ({"POS": POSITION, "BAND": "i", "INPUTS": "coadds"}, "INPUTS"),
        ({"POS": POSITION, "BAND": "i", "BORDER": "20"}, "BORDER"),
        ({"ID": SCIENCE.dataset_id, "BORDER": "1001"}, "0 to 1000"),
        ({"ID": SCIENCE.dataset_id, "INPUTS": "warps"}, "exposures, coadds"),
        ({"ID": SCIENCE.dataset_id, "INPUTS": "coadds", "TIME": OTHERS}, "TIME"),
        ({"ID": SCIENCE.dataset_id, "INPUTS": "coadds", "STATISTIC": "mean"}, "STATISTIC"),
    ],
)
def test_what_cannot_go_together_is_named(
    client: TestClient, parameters: dict[str, str], named: str
) -> None:
    answer = client.get(f"{TEMPLATE}/sync", params=parameters)
    assert answer.status_code == 400 and named in answer.text

"""The search page: what the form takes, names as positions, rows with their footprints."""

from __future__ import annotations

import html
import json
import math
import re
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from astropy.io import fits
from starlette.testclient import TestClient

from app.config import Config
from app.main import create_app
from app.pages.outlines import outline_json
from app.sky.predicates import contains_point
from app.sky.shapes import Point
from app.sky.stcs import parse_region
from app.wiring_database import initialise
from app.wiring_images import open_ingest
from tests.pages.conftest import Site

NAMED = (
    ("M 31", 10.68, 41.27, 60000.0),
    ("M 31", 10.72, 41.25, 60010.25),
    ("m 31", 10.7, 41.3, 60020.0),
    ("Field", 100.0, 0.0, 60030.0),
    ("Field", 200.0, 0.0, 60040.0),
    ("O'Neill 1", 359.9, -20.0, 60050.0),
    ("O'Neill 1", 0.1, -20.0, 60050.0),
)


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> TestClient:
    """Images of targets with names."""
    folder = tmp_path_factory.mktemp("named")
    (folder / "images").mkdir()
    for number, (name, lon, lat, mjd) in enumerate(NAMED):
        write_image(folder / "images" / f"{number}.fits", name, lon, lat, mjd)
    config = Config(data_dir=folder, workers=1)
    initialise(config)
    with open_ingest(config) as service:
        report = service.run(
            [folder / "images"], collection="named", profile=None, progress=lambda _d, _a: None
        )
    assert report.exit_status == 0
    return TestClient(create_app(config), base_url="http://sky.test")


def write_image(path: Path, name: str, lon: float, lat: float, mjd: float) -> None:
    cards = {
        "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": lon, "CRVAL2": lat, "CRPIX1": 16.5,
        "CRPIX2": 16.5, "CD1_1": -1e-3, "CD2_2": 1e-3, "RADESYS": "ICRS", "FILTER": "r",
        "OBJECT": name, "MJD-OBS": mjd, "EXPTIME": 30.0, "PROCTYPE": "calibrated",
    }  # fmt: skip
    flux = np.random.default_rng(3).normal(100, 10, (32, 32)).astype(np.float32)
    fits.PrimaryHDU(flux, fits.Header(cards)).writeto(path)


def search(client: TestClient, status: int = 200, **asked: str) -> str:
    answer = client.get("/search", params=asked)
    assert answer.status_code == status, answer.text
    return html.unescape(answer.text)


def titles(text: str) -> list[str]:
    return re.findall(r'<th scope="row"><a href="[^"]*">([^<]*)</a>', text)


@pytest.mark.parametrize("name", ["M 31", "m 31", " M 31 "])
def test_a_name_in_any_case_is_a_position(named: TestClient, name: str) -> None:
    text = search(named, POS=name, SR="0.2", STATE="there")
    assert len(titles(text)) == 3
    found = re.search(r'name="POS" value="([\d.]+) ([\d.]+)"', text)
    assert found and float(found[1]) == pytest.approx(10.70, abs=0.01)
    assert float(found[2]) == pytest.approx(41.27, abs=0.01)
    assert "(M 31)" in text or "(m 31)" in text


def test_a_name_across_the_origin_of_right_ascension_is_in_the_middle(named: TestClient) -> None:
    text = search(named, POS="o'neill 1", SR="1", STATE="there")
    found = re.search(r'name="POS" value="([\d.]+) (-[\d.]+)"', text)
    assert found and min(float(found[1]), 360 - float(found[1])) < 1e-6
    assert len(titles(text)) == 2


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("Field", ("2 places", "100 0", "200 0")),
        ("M 3", ("nor has any image", "called alike: 'M 31'")),
        ("nowhere", ("POS", "nor has any image here a target of that name")),
        ("%", ("POS",)),
        ("CIRCLE 400 0 1", ("longitude 400",)),
    ],
)
def test_names_that_are_of_several_places_or_of_none_are_explained(
    named: TestClient, name: str, told: tuple[str, ...]
) -> None:
    text = search(named, 400, POS=name)
    assert "POS" in text
    assert all(part in text for part in told)


@pytest.mark.parametrize(
    ("asked", "count"),
    [
        ({"SINCE": "60010"}, 6),
        ({"SINCE": "60010.3"}, 5),
        ({"UNTIL": "60010"}, 1),
        ({"UNTIL": "2023-03-07"}, 2),  # MJD 60010: the whole day
        ({"UNTIL": "2023-03-07T05:00:00"}, 1),
        ({"SINCE": "2023-03-07", "UNTIL": "2023-03-07"}, 1),
        ({"SINCE": "70000"}, 0),
    ],
)
def test_times_are_dates_or_mjds(named: TestClient, asked: dict[str, str], count: int) -> None:
    assert len(titles(search(named, STATE="there", **asked))) == count


@pytest.mark.parametrize(
    ("asked", "named_parameter"),
    [({"SINCE": "soon"}, "SINCE"), ({"UNTIL": "NaN"}, "UNTIL"), ({"SORT": "size"}, "SORT")],
)
def test_wrong_fields_are_refused(
    named: TestClient, asked: dict[str, str], named_parameter: str
) -> None:
    assert named_parameter in search(named, 400, **asked)


def test_rows_are_ordered_as_asked_and_the_headings_lead_there(site: Site) -> None:
    text = search(site.client, BAND="r")
    times = re.findall(r"<td>(\d{4}-\d\d-\d\d [\d:]+)</td>", text)
    assert len(times) > 1 and times == sorted(times)
    assert 'href="/search?BAND=r&SORT=newest"' in text
    newest = search(site.client, BAND="r", SORT="newest")
    assert re.findall(r"<td>(\d{4}-\d\d-\d\d [\d:]+)</td>", newest) == sorted(times, reverse=True)
    seeing = re.findall(r'class="number">([\d.]+)″', search(site.client, SORT="seeing"))
    assert seeing == sorted(seeing, key=float)
    assert '<input type="hidden" name="SORT" value="newest">' in newest


def outlines(text: str) -> list[dict[str, Any]]:
    return [json.loads(each) for each in re.findall(r'data-outline="({.*?})"', text)]


def test_each_row_has_the_outline_of_its_image(site: Site) -> None:
    lon, lat = site.truth.centre_deg
    text = search(site.client, POS=f"{lon} {lat}")
    found = outlines(text)
    assert len(found) == len(titles(text)) > 0
    for outline in found:
        corners = outline["coordinates"][0]
        assert corners[0] == corners[-1]
        words = " ".join(f"{x} {y}" for x, y in corners[:-1])
        assert contains_point(parse_region(f"POLYGON ICRS {words}"), Point(lon, lat))


@pytest.mark.parametrize(
    "region",
    [
        "POLYGON ICRS 10 0 11 0 11 1 10 1",
        "POLYGON ICRS 10 1 11 1 11 0 10 0",
        "POLYGON ICRS 359 -1 1 -1 1 1 359 1",
        "POLYGON ICRS 0 89 120 89 240 89",
        "POLYGON ICRS 0 0 4 0 4 4 2 1 0 4",
        "CIRCLE ICRS 50 -60 2",
        "BOX ICRS 180 10 4 2",
    ],
)
def test_outlines_are_clockwise_about_what_they_hold(region: str) -> None:
    """Seen from outside, with north up and east to the right, as d3-geo wants it."""
    corners = json.loads(outline_json(region))["coordinates"][0]
    vectors = [
        np.array([math.cos(b) * math.cos(a), math.cos(b) * math.sin(a), math.sin(b)])
        for a, b in np.radians(corners)
    ]
    turned = sum(np.cross(a, b) for a, b in pairwise(vectors))
    assert float(np.dot(turned, sum(vectors[:-1]))) < 0


@pytest.mark.parametrize("region", ["", "POLYGON 1 2", "UNION ICRS", None])
def test_regions_that_cannot_be_drawn_have_no_outline(region: str | None) -> None:
    assert outline_json(region) == ""


def test_the_form_keeps_what_was_asked(named: TestClient) -> None:
    text = search(named, SINCE="2023-01-01", UNTIL="60100", POS="10.7 41.27", SR="1")
    assert 'name="SINCE" value="2023-01-01"' in text and 'name="UNTIL" value="60100"' in text
    heading = re.search(r'href="(/search\?[^"]*SORT=seeing)"', text)
    assert heading and f"POS={quote('10.7 41.27').replace('%20', '+')}" in heading[1]
    assert "SINCE=2023-01-01" in heading[1]

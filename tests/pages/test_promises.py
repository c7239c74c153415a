"""What pages tell of differences that can be built, and of stale ones."""

from __future__ import annotations

import re
from dataclasses import replace
from urllib.parse import quote

import pytest

from app.schema.rows import virtual_id
from app.stores.metadata import open_stores
from tests.pages.conftest import SMALL, Site, make_site
from tests.pages.test_pages import get, links_of


@pytest.fixture(scope="module")
def surveyed(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Three epochs: each has a template of the two others."""
    return make_site(tmp_path_factory.mktemp("surveyed"), replace(SMALL, quiet_epochs=2))


def page_of(dataset_id: str) -> str:
    return f"/images?ID={quote(dataset_id, safe='')}"


def promised(site: Site) -> str:
    return str(virtual_id(site.image_id))


def test_the_landing_page_counts_what_is_there_and_what_can_be_built(surveyed: Site) -> None:
    text = get(surveyed, "/")
    images = len(surveyed.truth.exposures)
    assert f"<b>{images}</b><span>images" in text
    more = re.search(r'href="(/search\?STATE=buildable)">(\d+) more</a>', text)
    assert more and int(more[2]) == images
    assert "Not built yet" not in text
    cards = get(surveyed, more[1])
    assert cards.count("Not built yet") == cards.count("can be built</span>") == images


@pytest.mark.parametrize(("state", "share"), [("", 2), ("there", 1), ("built", 0), ("stale", 0)])
def test_searches_choose_by_state(surveyed: Site, state: str, share: int) -> None:
    text = get(surveyed, f"/search?STATE={state}&BAND=r")
    exposures = sum(each.band == "r" for each in surveyed.truth.exposures)
    assert f"<h1>{share * exposures} image" in text
    assert "one of there, buildable" in get(surveyed, "/search?STATE=no", status=400)


def test_the_page_of_a_promise_builds_it(surveyed: Site) -> None:
    text = get(surveyed, page_of(promised(surveyed)))
    assert "Not built yet" in text and "can be built" in text
    assert "/previews" not in text and "/quality?" not in text
    assert page_of(surveyed.image_id) in links_of(text)
    (address,) = [each for each in links_of(text) if "/differences?" in each]
    assert address.startswith("http://sky.test/differences?ID=")
    (job,) = re.findall(r'<input type="hidden" name="ID" value="([^"]+)">', text)
    assert job == surveyed.image_id
    started = surveyed.client.post("/jobs/difference", data={"ID": job}, follow_redirects=False)
    assert started.status_code == 303
    assert "<h1>Difference image</h1>" in get(surveyed, started.headers["location"])


def test_what_needs_pixels_says_that_there_are_none(surveyed: Site) -> None:
    name = quote(promised(surveyed), safe="")
    for path in ("/previews", "/quality"):
        assert "not built yet" in get(surveyed, f"{path}?ID={name}", status=404)


def test_an_exposure_leads_to_its_difference(surveyed: Site) -> None:
    text = get(surveyed, page_of(surveyed.image_id))
    assert "can be built." in text
    assert page_of(promised(surveyed)) in links_of(text)


def test_an_exposure_without_a_template_has_none(site: Site) -> None:
    assert "can be built." not in get(site, page_of(site.image_id))


def test_crawlers_are_told_to_build_nothing(site: Site) -> None:
    text = site.client.get("/robots.txt").text
    assert text.startswith("User-agent: *\n")
    assert {"Disallow: /builds/", "Disallow: /differences"} <= set(text.splitlines())


def test_withdrawn_exposures_take_their_promise_along(surveyed: Site) -> None:
    stores = open_stores(surveyed.config.effective_database_url)
    first = stores.datasets.get(surveyed.image_id)
    stores.datasets.withdraw([first.dataset_id])
    assert "No dataset" in get(surveyed, page_of(promised(surveyed)), status=404)
    stores.datasets.upsert([first])
    stores.close()

"""The page of the sky map: a drawing of the patches, and templates to look at or to build."""

from __future__ import annotations

import re

from app.sky.shapes import Circle, Point
from app.wiring_images import make_skymap
from tests.pages.conftest import Site
from tests.pages.test_pages import get, links_of


def middle(site: Site) -> tuple[float, float]:
    """Where the first exposure is."""
    row = site.client.get(
        "/tap/sync",
        params={
            "LANG": "ADQL",
            "RESPONSEFORMAT": "json",
            "QUERY": "SELECT TOP 1 s_ra, s_dec FROM ivoa.ObsCore",
        },
    ).json()["data"][0]
    return row[0], row[1]


def test_each_patch_is_drawn_and_told(site: Site) -> None:
    lon, lat = middle(site)
    text = get(site, f"/sky?POS=CIRCLE {lon} {lat} 0.3")
    numbers = make_skymap(site.config).find_numbers(Circle(lon, lat, 0.3))
    drawn = re.findall(r"<title>tract (\d+) patch (\d+): ([^<]*)</title>", text)
    assert {(int(tract), int(patch)) for tract, patch, _ in drawn} == set(numbers)
    assert text.count("<polygon") == len(numbers) >= 4
    assert any(re.match(r"g \d+, r \d+", bands) for _, _, bands in drawn)
    assert any(bands == "no exposure" for _, _, bands in drawn)
    targets = {link for link in links_of(text) if link.startswith("#p")}
    assert targets == {f"#p{tract}-{patch}" for tract, patch in numbers}
    for link in links_of(text) - targets - {"#main"}:
        if not link.startswith("/jobs/template"):
            assert site.client.get(link).status_code < 400, link


def test_positions_are_taken_as_the_search_takes_them(site: Site) -> None:
    patches = [
        re.findall(r"<title>tract (\d+) patch (\d+)", get(site, f"/sky?POS={text}"))
        for text in ("62 -37", "04:08:00 -37:00:00", "4h8m, -37d")
    ]
    assert patches[0] and patches[0] == patches[1] == patches[2]


def test_a_template_is_started_from_the_page(site: Site) -> None:
    lon, lat = middle(site)
    home = make_skymap(site.config).locate(Point(lon, lat))
    text = get(site, f"/sky?POS={lon} {lat}")
    assert f'name="TRACT" value="{home.tract}"' in text
    asked = {"TRACT": str(home.tract), "PATCH": str(home.patch), "BAND": "g"}
    started = site.client.post("/jobs/template", data=asked, follow_redirects=False)
    assert started.status_code == 303
    assert str(home.tract) in get(site, started.headers["location"].removeprefix("http://sky.test"))


def test_a_browser_is_led_to_the_page_and_a_program_is_not(site: Site) -> None:
    asked = {"POS": "10 20"}
    browser = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    led = site.client.get("/skymap", params=asked, headers=browser, follow_redirects=False)
    assert led.status_code == 303 and "/sky?POS=" in led.headers["location"]
    assert "no exposure" in get(site, "/sky?POS=10 20")
    assert site.client.get("/skymap", params=asked).text.startswith("<?xml")
    csv = site.client.get("/skymap", params={**asked, "RESPONSEFORMAT": "csv"}, headers=browser)
    assert csv.text.startswith("tract,patch,")


def test_wrong_positions_are_told(site: Site) -> None:
    assert "5 deg" in get(site, "/sky?POS=CIRCLE 10 20 30", 400)
    assert "POS" in get(site, "/sky?POS=somewhere", 400)
    assert "<polygon" not in get(site, "/sky")

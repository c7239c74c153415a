"""The page of triplets: a strip, its forms and a table of a position."""

from __future__ import annotations

import io
import re
from html import unescape

from PIL import Image

from app.pages.position import format_position
from app.sky.shapes import Point
from tests.pages.conftest import Site
from tests.pages.test_pages import get, links_of


def test_a_place_has_a_strip_and_a_table(site: Site) -> None:
    variable = site.truth.variables[0]
    where = format_position(Point(variable.lon_deg, variable.lat_deg))
    asked = {"POS": where, "RESPONSEFORMAT": "json"}
    names = [row[9] for row in site.client.get("/stamps", params=asked).json()["data"]]
    assert len(names) >= 2
    text = get(site, f"/triplets?POS={where}&SIZE=20arcsec")
    (source,) = [s for s in map(unescape, re.findall(r'<img src="([^"]+)"', text)) if "stamps" in s]
    strip = Image.open(io.BytesIO(site.client.get(source).content))
    assert strip.width == 600 and strip.height % len(names) == 0
    assert all(name in text for name in names)
    assert f"{len(names)} of {len(names)} epochs have no difference" in text
    for link in links_of(text) - {"#main"}:
        assert site.client.get(link).status_code < 400, link
    one_band = get(site, f"/triplets?POS={where}&BAND=g")
    assert sum(name in one_band for name in names) < len(names)


def test_what_can_be_built_is_begun_from_the_page(site: Site) -> None:
    """Two epochs are too few for templates, and that is told."""
    lon, lat = site.truth.centre_deg
    text = get(site, f"/triplets?POS={lon} {lat}&BUILD=true")
    assert "enough" in text or "No image" in text or "found" in text


def test_a_place_is_asked_for_as_people_write_it(site: Site) -> None:
    assert "Triplets at 62 -37.0833333" in get(site, "/triplets?POS=4h8m, -37d5m")
    assert "No calibrated image" in get(site, "/triplets?POS=1 1")
    assert 'name="POS"' in get(site, "/triplets")
    assert "SIZE" in get(site, "/triplets?POS=1 1&SIZE=big", 400)


def test_pages_lead_to_it(site: Site) -> None:
    lon, lat = site.truth.centre_deg
    for path in (
        f"/search?POS={lon} {lat}",
        f"/lightcurves?POS={lon} {lat}",
        f"/images?ID={site.image_id}",
    ):
        assert any(link.startswith("/triplets?POS=") for link in links_of(get(site, path))), path
    browser = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    asked = {"POS": f"{lon} {lat}"}
    led = site.client.get("/stamps", params=asked, headers=browser, follow_redirects=False)
    assert led.status_code == 303 and "/triplets?POS=" in led.headers["location"]

"""Looking around: footprints on the sky of a search, and the pixels of an image."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import cast
from urllib.parse import parse_qs, quote, urlsplit

import numpy as np
import pytest
from astropy.io import fits
from playwright.sync_api import FloatRect, Locator, Page, expect

from app.demo.settings import COLLECTION
from app.pixels.grid import Grid
from app.pixels.healpix_grid import HealpixGrid
from app.stores.hips_files import HipsFolder, Tile
from tests.browser.conftest import PHONE, Site, violations
from tests.waiting import wait_for

pytestmark = pytest.mark.needs("chromium", "bundles")

SHAPE = (1500, 1700)
IMAGE = "ivo://skyloom.local/large?large"


@pytest.fixture(scope="module")
def grid(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Grid:
    """That of an image of several tiles on three levels, turned and distorted."""
    header = fits.Header(
        {
            "CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP", "CRVAL1": 150.0, "CRVAL2": 20.0,
            "CRPIX1": 850.0, "CRPIX2": 750.0, "CD1_1": -5e-5, "CD1_2": 2e-5, "CD2_1": 2e-5,
            "CD2_2": 5e-5, "A_ORDER": 2, "B_ORDER": 2, "A_2_0": 5e-6, "B_1_1": 4e-6,
            "RADESYS": "ICRS", "FILTER": "r", "EXPTIME": 30.0, "MJD-OBS": 60000.0,
            "PROCTYPE": "calibrated",
        }
    )  # fmt: skip
    flux = np.random.default_rng(2).normal(100, 10, SHAPE).astype(np.float32)
    flux[700:800, 800:900] += 400
    folder = tmp_path_factory.mktemp("large")
    fits.PrimaryHDU(flux, header).writeto(folder / "large.fits")
    site.service.run("ingest", str(folder), "--collection", "large")
    return Grid.from_header(header, SHAPE)


def box_of(place: Locator) -> FloatRect:
    place.scroll_into_view_if_needed()
    box = place.bounding_box()
    assert box is not None
    return box


def middle(place: Locator) -> tuple[float, float]:
    box = box_of(place)
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def open_search(page: Page, site: Site) -> Locator:
    """Its map, with every footprint drawn."""
    page.goto(f"/search?POS={quote(site.pos)}&STATE=there&BAND=r")
    sky = page.locator(".sky-map")
    expect(sky.locator(".footprints path[d^=M]").first).to_be_attached()
    return sky


def test_a_footprint_on_the_sky_opens_its_image(page: Page, site: Site) -> None:
    sky = open_search(page, site)
    footprint = sky.locator(".footprints a").last
    title = footprint.locator("title").text_content()
    page.mouse.move(*middle(footprint))
    expect(footprint).to_have_class(re.compile("lit"))
    row = page.locator("tr.lit")
    expect(row).to_have_count(1)
    assert title and str(row.locator("th").text_content()) in title
    expect(page.locator(".sky-status")).to_have_text(title)
    page.mouse.click(*middle(footprint))
    page.wait_for_url("**/images?**")
    expect(page.locator("h1")).to_have_text(title.split(" · ")[0])


def test_a_survey_lies_below_the_footprints(page: Page, site: Site) -> None:
    site.service.run("hips", COLLECTION, "--band", "r")
    made = HipsFolder(site.service.data_dir / "hips" / f"{COLLECTION}-r")
    sky = open_search(page, site)
    sky.locator(".footprints").evaluate("each => each.replaceChildren()")
    choice = page.get_by_label("Survey in the background")
    expect(choice.locator("option:checked")).to_have_text(f"{COLLECTION} r")
    expect(sky.locator(".survey image").first).to_be_attached()
    checked = 0
    for image in sky.locator(".survey image").all():
        found = re.search(r"/Norder(\d+)/Dir\d+/Npix(\d+)\.png", str(image.get_attribute("href")))
        assert found
        tile = Tile(int(found[1]), int(found[2]))
        pixels = made.read_tile(tile)
        if pixels is None:
            continue
        row, column = np.argwhere(np.isfinite(pixels))[[0, -1][checked % 2]]
        numbers = re.findall(r"[-+.\de]+", str(image.get_attribute("transform")).split("(")[1])
        a, b, c, d, e, f = map(float, numbers)
        across, down = (column + 0.5) / 512, 1 - (row + 0.5) / 512
        box = box_of(sky)
        x, y = a * across + c * down + e, b * across + d * down + f
        if not (5 < x < box["width"] - 5 and 60 < y < box["height"] - 5):
            continue
        page.mouse.move(box["x"] + x, box["y"] + y)
        grid = HealpixGrid(tile.order, tile.number, 512)
        lon, lat = (float(each) for each in grid.pixel_to_sky(column, row))
        told = page.locator(".sky-status")
        expect(told).to_have_text(re.compile(rf"^{int(lon)}\.\d+ {int(lat)}\.\d+$"))
        place = [float(word) for word in str(told.text_content()).split()]
        assert place == pytest.approx([lon, lat], abs=5e-4)
        checked += 1
    assert checked
    choice.select_option("No survey")
    expect(sky.locator(".survey image")).to_have_count(0)


def test_rows_light_up_their_footprints(page: Page, site: Site) -> None:
    sky = open_search(page, site)
    rows = page.locator("tr[data-outline]")
    expect(sky.locator(".footprints a")).to_have_count(rows.count())
    rows.nth(1).hover()
    expect(sky.locator(".footprints a").nth(1)).to_have_class("lit")
    rows.nth(0).locator("a").focus()
    expect(sky.locator(".footprints a").nth(0)).to_have_class("lit")
    page.mouse.move(0, 0)
    expect(sky.locator(".footprints a.lit")).to_have_count(1)


def test_the_sky_is_turned_and_zoomed_with_keys_and_the_pointer(page: Page, site: Site) -> None:
    sky = open_search(page, site)
    footprint = sky.locator(".footprints path").first
    first = box_of(footprint)

    def place() -> FloatRect:
        return cast(FloatRect, footprint.bounding_box())

    def width() -> float:
        return place()["width"]

    sky.focus()
    page.keyboard.press("+")
    wait_for(lambda: width() > 1.2 * first["width"])
    page.keyboard.press("ArrowRight")
    wait_for(lambda: place()["x"] < first["x"])
    page.keyboard.press("Home")
    wait_for(lambda: width() < 1.1 * first["width"])
    x, y = middle(sky)
    page.mouse.move(x, y - 20)
    page.mouse.wheel(0, -300)
    wait_for(lambda: width() > 1.5 * first["width"])
    page.keyboard.press("0")
    wait_for(lambda: width() < 20)
    assert urlsplit(page.url).path == "/search"  # dragging and keys open nothing


def test_an_empty_place_of_the_sky_is_searched(page: Page, site: Site) -> None:
    sky = open_search(page, site)
    box = box_of(sky)
    page.mouse.click(box["x"] + 30, box["y"] + box["height"] - 40)
    lon, lat = map(float, page.input_value("#pos").split())
    centre_lon, centre_lat = site.truth.centre_deg
    assert lon > centre_lon and lat < centre_lat  # east is left, north is up
    page.get_by_role("button", name="Find images").click()
    expect(page.locator("h1")).to_contain_text("0 images")


def test_the_front_page_shows_what_is_covered(page: Page) -> None:
    page.goto("/")
    cover = page.locator(".sky-map .cover")
    expect(cover).to_have_attribute("d", re.compile("^M"))
    expect(page.locator("section.sky")).to_contain_text("What images cover is blue")
    before = cover.get_attribute("d")
    page.get_by_role("button", name="All sky").click()
    expect(cover).not_to_have_attribute("d", str(before))
    page.locator(".sky-map").click(position={"x": 200, "y": 150})
    assert re.fullmatch(r"[\d.]+ -?[\d.]+", page.input_value("#pos"))
    assert not violations(page)


def tiles_asked(page: Page, act: Callable[[], object], until: Callable[[str], bool]) -> str:
    """The address of the first tile of a kind that is loaded after something was done."""
    with page.expect_response(lambda answer: "/tiles?" in answer.url and until(answer.url)) as got:
        act()
    assert got.value.status == 200
    return got.value.url


def level_of(url: str) -> int:
    return int(parse_qs(urlsplit(url).query)["LEVEL"][0])


def open_image(page: Page, more: str = "") -> Locator:
    """The viewer of the large image, its first tiles drawn."""
    with page.expect_response(lambda answer: "/tiles?" in answer.url):
        page.goto(f"/images?ID={quote(IMAGE, safe='')}{more}")
    viewer = page.locator(".viewer")
    expect(viewer.locator("canvas").first).to_be_visible()
    wait_for(lambda: page.evaluate(COLOURS) > 1)
    return viewer


COLOURS = """(() => {
  const canvas = document.querySelector('.viewer canvas');
  const {data} = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
  return new Set(new Uint32Array(data.buffer)).size;
})()"""
"""How many colours the viewer shows."""

COLOURFUL = COLOURS.replace(
    "new Set(new Uint32Array(data.buffer)).size",
    "data.some((each, i) => i % 4 === 0 && Math.abs(each - data[i + 1]) > 40)",
)


@pytest.mark.usefixtures("grid")
def test_zooming_in_loads_the_pixels_themselves(page: Page) -> None:
    viewer = open_image(page)
    assert page.locator(".preview > img").is_hidden()
    x, y = middle(viewer)
    page.mouse.move(x, y)

    def zoom() -> None:
        for _ in range(6):
            page.mouse.wheel(0, -300)

    assert level_of(tiles_asked(page, zoom, lambda url: level_of(url) == 2)) == 2
    bar = page.locator(".viewer-marks .length")
    before = bar.text_content()
    page.locator("[data-view=fit]").click()
    expect(bar).not_to_have_text(str(before))


@pytest.mark.usefixtures("grid")
def test_a_change_of_stretch_changes_pixels_and_address(page: Page) -> None:
    open_image(page)
    assert not page.evaluate(COLOURFUL)
    tiles_asked(
        page,
        lambda: page.select_option("[name=COLORMAP]", "viridis"),
        lambda url: "COLORMAP=viridis" in url,
    )
    wait_for(lambda: page.evaluate(COLOURFUL))
    tiles_asked(
        page,
        lambda: page.select_option("[name=STRETCH]", "log"),
        lambda url: "STRETCH=log" in url and "COLORMAP=viridis" in url,
    )
    asked = parse_qs(urlsplit(page.url).query)
    assert asked["STRETCH"] == ["log"] and asked["COLORMAP"] == ["viridis"]
    tiles_asked(page, page.reload, lambda url: "STRETCH=log" in url)  # the address keeps it
    assert page.input_value("[name=STRETCH]") == "log"
    expect(page.locator(".legend")).to_be_hidden()
    tiles_asked(page, lambda: page.check("[name=MASK]"), lambda url: "MASK=1" in url)
    expect(page.locator(".legend")).to_be_visible()


def test_the_position_under_the_pointer_is_that_of_the_pixel(page: Page, grid: Grid) -> None:
    viewer = open_image(page)
    box = box_of(viewer)
    status = page.locator(".viewer-status")
    for across, down in ((0.3, 0.35), (0.7, 0.6), (0.5, 0.2)):
        page.mouse.move(box["x"] + across * box["width"], box["y"] + down * box["height"])
        expect(status).to_contain_text("pixel")
        position, pixel = str(status.text_content()).split(" · pixel ")
        lon, lat = map(float, position.split())
        x, y = (float(each) - 1 for each in pixel.split())
        there = grid.sky_to_pixel(lon, lat)
        assert np.hypot(float(there[0]) - x, float(there[1]) - y) < 0.2  # a tenth is shown


def test_a_click_marks_the_place(page: Page, grid: Grid) -> None:
    viewer = open_image(page)
    page.mouse.click(*middle(viewer))
    field = page.locator(".preview input[name=POS]")
    expect(field).not_to_have_value("")
    lon, lat = map(float, field.input_value().split())
    x, y = grid.sky_to_pixel(lon, lat)
    assert abs(float(x) - 849.5) < 2 and abs(float(y) - 749.5) < 2
    ring = page.locator(".viewer-marks .ring")
    expect(ring).not_to_have_attribute("d", "")
    assert f"POS={lon:.6f}"[:10] in page.url
    marked = middle(ring)
    assert marked == pytest.approx(middle(viewer), abs=2)


@pytest.mark.usefixtures("grid")
def test_the_viewer_obeys_keys(page: Page) -> None:
    viewer = open_image(page)
    outline = page.locator(".viewer-marks .outline")
    first = outline.get_attribute("d")
    viewer.locator(".openseadragon-canvas").focus()
    for key in ("+", "ArrowLeft"):
        page.keyboard.press(key)
        expect(outline).not_to_have_attribute("d", str(first))
        first = outline.get_attribute("d")
    page.keyboard.press("m")
    expect(page.locator(".viewer-status")).to_contain_text("Marked")


@pytest.mark.usefixtures("grid")
@pytest.mark.parametrize("size", ["wide", "phone"])
def test_pages_with_viewers_have_no_serious_fault(page: Page, site: Site, size: str) -> None:
    if size == "phone":
        page.set_viewport_size(PHONE)
    open_image(page, "&MASK=1")
    assert not violations(page)
    open_search(page, site)
    assert not violations(page)


@pytest.mark.usefixtures("grid")
def test_without_scripts_the_preview_stays(page: Page, site: Site) -> None:
    browser = page.context.browser
    assert browser is not None
    plain = browser.new_context(base_url=site.url, java_script_enabled=False).new_page()
    plain.goto(f"/images?ID={quote(IMAGE, safe='')}")
    assert plain.locator(".preview > img").is_visible()
    assert plain.locator(".viewer-panel").is_hidden()
    plain.goto(f"/search?POS={quote(site.pos)}")
    assert plain.locator("section.sky").is_hidden() and plain.locator("table.found").is_visible()
    plain.context.close()

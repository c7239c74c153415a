"""From the search form to an image, a part of it, and a difference that is watched while it is
built."""

from __future__ import annotations

from urllib.parse import quote

import numpy as np
import pytest
from astropy.io import fits
from playwright.sync_api import Page, expect

from tests.browser.conftest import BUILD_MS, Site, violations

pytestmark = pytest.mark.needs("chromium", "bundles")


def open_image(page: Page, site: Site, visit: int = -1) -> None:
    page.goto(f"/images?ID={quote(site.image_id(visit), safe='')}")


def test_the_search_form_finds_images_and_keeps_what_was_asked(page: Page, site: Site) -> None:
    page.goto("/")
    page.get_by_role("textbox", name="Position").fill(site.pos)
    page.get_by_label("Band").select_option("r")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text(f"that contain {site.pos}")
    expect(page.locator(".thumbs li")).to_have_count(2 * len(site.truth.exposures))
    expect(page.get_by_role("textbox", name="Position")).to_have_value(site.pos)
    page.locator(".thumbs a").first.click()
    expect(page.get_by_role("heading", name="ObsCore metadata")).to_be_visible()
    assert quote(site.pos) in page.url.replace("+", "%20")


def test_a_part_of_an_image_is_downloaded(page: Page, site: Site) -> None:
    open_image(page, site)
    page.get_by_label("Circle lon lat radius").fill(f"{site.pos} 0.002")
    with page.expect_download() as download:
        page.get_by_role("button", name="Cut out").click()
    assert download.value.suggested_filename.endswith(".fits")
    with fits.open(download.value.path()) as hdus:
        height, width = hdus["IMAGE"].shape
        assert 46 <= height <= 50 and 46 <= width <= 50  # 14.4" at 0.3"
        assert np.isfinite(hdus["IMAGE"].data).any()


def test_a_difference_is_watched_until_it_leads_to_its_image(page: Page, site: Site) -> None:
    open_image(page, site)
    page.get_by_role("button", name="Difference image").click()
    page.wait_for_url("**/jobs/difference/*")
    page.evaluate("window.stayed = true")
    expect(page.get_by_role("progressbar")).to_be_visible()
    assert not violations(page)

    see = page.get_by_role("link", name="See the difference image")
    expect(see).to_be_visible(timeout=BUILD_MS)
    expect(page.get_by_role("status")).to_have_text("completed")
    expect(page.get_by_text("ended")).to_be_visible()
    expect(page.get_by_role("button", name="Abort")).to_have_count(0)
    assert page.evaluate("window.stayed"), "the page was loaded anew"
    page.wait_for_load_state("networkidle")  # it no longer asks
    assert not violations(page)

    see.click()
    expect(page.get_by_role("heading", name="Made from")).to_be_visible()
    assert not violations(page)
    page.get_by_role("link", name="Quality").click()
    assert not violations(page)
    page.get_by_role("link", name="Jobs").click()
    expect(page.get_by_role("cell", name="completed")).to_be_visible()
    assert not violations(page)


def test_a_job_that_is_aborted_elsewhere_says_so(page: Page, site: Site) -> None:
    open_image(page, site, visit=-2)
    page.get_by_role("button", name="Difference image").click()
    page.wait_for_url("**/jobs/difference/*")
    abort = page.get_by_role("button", name="Abort")
    abort.focus()
    # Another client of the same service stops the job.
    other = page.context.request.post(page.url, form={"PHASE": "ABORT"})
    assert other.ok
    status = page.get_by_role("status")
    expect(status).to_have_text("aborted", timeout=BUILD_MS)
    expect(abort).to_have_count(0)
    expect(status).to_be_focused()

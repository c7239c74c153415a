"""The query page by keyboard: faults at their place, completion, the way in and out."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.browser.conftest import Site, violations

pytestmark = pytest.mark.needs("chromium", "bundles")

WRONG = "SELECT TOP 4 obs_id,\n  lsst_ban FROM ivoa.ObsCore"


def open_editor(page: Page) -> Locator:
    """The editor, with nothing in it, once it knows the tables."""
    with page.expect_response("**/query/vocabulary"):
        page.goto("/query")
    editor = page.get_by_role("textbox", name="ADQL")
    editor.click()
    page.keyboard.press("Control+a")
    page.keyboard.press("Delete")
    return editor


def test_a_fault_is_shown_at_its_place_mended_and_run_by_keyboard(page: Page) -> None:
    open_editor(page)
    page.keyboard.insert_text(WRONG)
    page.keyboard.press("Control+Enter")
    page.wait_for_url(re.compile(r"/query\?QUERY="))
    expect(page.get_by_role("alert")).to_contain_text("no column lsst_ban")
    assert page.locator(".cm-lintRange-error").all_inner_texts() == ["lsst_ban"]
    assert not violations(page)

    expect(page.get_by_role("textbox", name="ADQL")).to_be_focused()
    page.keyboard.press("Control+ArrowRight")  # the cursor stands before the name
    page.keyboard.type("d")
    page.keyboard.press("Control+Enter")
    expect(page.locator(".result thead th")).to_have_text(["obs_id", "lsst_band"])
    expect(page.locator(".result tbody tr")).to_have_count(4)


def test_a_check_tells_what_is_wrong_and_runs_nothing(page: Page) -> None:
    editor = open_editor(page)
    page.keyboard.insert_text(
        "-- \N{TELESCOPE} far\nSELECT '\N{TELESCOPE}', nothing FROM ivoa.ObsCore"
    )
    page.get_by_role("button", name="Check").click()
    status = page.get_by_role("status")
    expect(status).to_contain_text("no column nothing")
    assert page.locator(".cm-lintRange-error").all_inner_texts() == ["nothing"]

    page.keyboard.press("Control+a")
    page.keyboard.insert_text("SELECT obs_id, t_min FROM ivoa.ObsCore WHERE obs_id = 'x")
    expect(status).to_be_empty()
    page.get_by_role("button", name="Check").click()
    expect(page.locator(".cm-lintRange-error")).to_be_visible()
    page.keyboard.press("Control+a")
    page.keyboard.insert_text("SELECT obs_id, t_min FROM ivoa.ObsCore")
    page.get_by_role("button", name="Check").click()
    expect(status).to_have_text("The query is valid. Columns of the answer: obs_id, t_min.")
    expect(page.locator(".cm-lintRange-error")).to_have_count(0)
    expect(editor).to_be_visible()
    assert page.url.endswith("/query")


def test_slips_of_other_dialects_are_mended_by_a_button(page: Page) -> None:
    editor = open_editor(page)
    page.keyboard.insert_text("SELECT obs_id FROM ivoa.ObsCore LIMIT 3")
    page.get_by_role("button", name="Check").click()
    page.get_by_role("button", name="Mend it").click()
    expect(editor).to_contain_text("SELECT TOP 3 obs_id FROM ivoa.ObsCore")
    expect(page.locator(".cm-lintRange-error")).to_have_count(0)


def test_columns_functions_and_tables_are_completed(page: Page) -> None:
    editor = open_editor(page)
    page.keyboard.insert_text("SELECT  FROM skyloom.dia_source AS s, ivoa.ObsCore AS o")
    page.keyboard.press("Home")
    for _ in "SELECT ":
        page.keyboard.press("ArrowRight")
    page.keyboard.type("s_resol")
    option = page.get_by_role("option", name="s_resolution")
    expect(option).to_contain_text("arcsec")
    expect(page.locator(".cm-completionInfo")).to_contain_text("resolution")
    expect(option).to_have_attribute("aria-selected", "true")
    assert not violations(page)
    page.keyboard.press("Enter")
    page.keyboard.type(", s.snr")
    expect(page.get_by_role("option", name=re.compile("^snr"))).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.type(", ivo_heal")
    expect(page.get_by_role("option", name="ivo_healpix_index").first).to_contain_text("BIGINT")
    expect(editor).to_contain_text("SELECT s_resolution, s.snr, ivo_heal FROM")


def test_tab_leads_through_the_editor(page: Page) -> None:
    editor = open_editor(page)
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Run")).to_be_focused()
    page.keyboard.press("Shift+Tab")
    expect(editor).to_be_focused()


def test_without_scripts_the_form_does_the_same(browser: Browser, site: Site) -> None:
    with browser.new_context(base_url=site.url, java_script_enabled=False) as plain:
        bare = plain.new_page()
        bare.goto("/query")
        bare.get_by_label("ADQL").fill(WRONG)
        bare.get_by_role("button", name="Check").click()
        expect(bare.get_by_role("heading", level=1)).to_have_text("This query is not valid")
        bare.get_by_label("ADQL").fill("SELECT TOP 4 obs_id FROM ivoa.ObsCore")
        bare.get_by_role("button", name="Run").click()
        expect(bare.locator(".result tbody tr")).to_have_count(4)

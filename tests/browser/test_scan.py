"""Every page, wide and light, then on a phone and dark: nothing that axe finds serious, nothing
that sticks out; and that it asks no other host, the tab itself watches."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from playwright.sync_api import Page

from tests.browser.conftest import PHONE, Site, violations

pytestmark = pytest.mark.needs("chromium", "bundles")

PAGES = {
    "landing": "/",
    "search": "/search?POS={pos}&BAND=r",
    "nothing found": "/search?POS=0+0",
    "query": "/query",
    "query answered": "/query?QUERY=SELECT+TOP+5+*+FROM+ivoa.ObsCore",
    "query refused": "/query?QUERY=SELECT+nothing+FROM+ivoa.ObsCore",
    "image": "/images?ID={id}&POS={pos}",
    "image with masks": "/images?ID={id}&MASK=1",
    "sky map": "/sky?POS={pos}",
    "light curves": "/lightcurves?POS={pos}",
    "triplets": "/triplets?POS={pos}&BAND=r",
    "jobs": "/jobs",
    "TAP": "/tap",
    "SIA": "/sia",
    "examples": "/tap/examples",
    "verdict": "/tap/validate?QUERY=SELECT+nothing+FROM+ivoa.ObsCore",
    "fault": "/images?ID=nothing",
}


@pytest.mark.parametrize("name", PAGES)
def test_a_page_has_no_serious_fault(page: Page, site: Site, name: str) -> None:
    page.goto(PAGES[name].format(id=quote(site.image_id(), safe=""), pos=quote(site.pos)))
    assert not violations(page)
    page.set_viewport_size(PHONE)
    page.emulate_media(color_scheme="dark")
    assert not violations(page)

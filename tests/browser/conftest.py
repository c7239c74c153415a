"""A small survey behind a real server, and Chromium in front of it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import (
    Browser,
    ConsoleMessage,
    Page,
    Request,
    ViewportSize,
    expect,
    sync_playwright,
)

from app.demo.announce import dataset_id
from app.demo.settings import BANDS, SKYMAP_SETTINGS, Camera, SurveySettings
from app.demo.survey import make_survey
from app.demo.truth import SurveyTruth
from tests.flows.service import Service
from tests.machine import CHROMIUM
from tests.waiting import PATIENCE_S

AXE = Path("app/pages/web/node_modules/axe-core/axe.min.js")
SURVEY = SurveySettings(
    camera=Camera(columns=1, rows=1, nx_px=400, ny_px=400),
    bands=BANDS[1:2],
    quiet_epochs=4,
    active_epochs=2,
    dither_arcsec=10.0,
    transients=2,
    variables=1,
)
WIDE: ViewportSize = {"width": 1280, "height": 900}
PHONE: ViewportSize = {"width": 390, "height": 844}
BUILD_MS = 5 * PATIENCE_S * 1000
"""Far above what a build takes, even where all that it needs is compiled first."""

expect.set_options(timeout=PATIENCE_S * 1000)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """These come last: by then what builds need has been compiled."""
    items.sort(key=lambda item: item.path.parent == Path(__file__).parent)


@dataclass(frozen=True)
class Site:
    """The served survey."""

    service: Service
    truth: SurveyTruth

    @property
    def url(self) -> str:
        """Of the service, without a slash at the end."""
        return self.service.url

    @property
    def pos(self) -> str:
        """A place that every exposure shows, as ``lon lat``."""
        lon, lat = self.truth.centre_deg
        return f"{round(lon, 5)} {round(lat, 5)}"

    def image_id(self, visit: int = -1) -> str:
        """Identifier of an exposure, the last one by default."""
        return dataset_id(self.truth.exposures[visit], "skyloom.local")


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """``skyloom serve`` over the survey, with a worker that builds."""
    folder = tmp_path_factory.mktemp("browser")
    truth = make_survey(folder / "survey", seed=5, workers=1, settings=SURVEY)
    service = Service(
        data_dir=folder,
        environment={f"SKYLOOM_{key.upper()}": str(each) for key, each in SKYMAP_SETTINGS.items()}
        | {"SKYLOOM_WORKERS": "1"},
    )
    service.run("ingest", str(truth.images), "--collection", "demo")
    service.start()
    yield Site(service, truth)
    service.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The Chromium of this machine. A module's, since its event loop runs in this thread."""
    with sync_playwright() as playwright:
        path = next(filter(None, map(shutil.which, CHROMIUM)))
        started = playwright.chromium.launch(executable_path=path, chromium_sandbox=False)
        yield started
        started.close()


@dataclass
class Watch:
    """What must not happen on any page."""

    origin: str
    seen: list[str] = field(default_factory=list)

    def on_request(self, request: Request) -> None:
        """Pages need nothing from another host."""
        if not request.url.startswith((f"{self.origin}/", "data:", "blob:")):
            self.seen.append(f"asks another host: {request.url}")

    def on_console(self, message: ConsoleMessage) -> None:
        """Chromium also reports the status of a page that tells of a fault."""
        is_status = message.text.startswith("Failed to load resource: the server responded")
        at = message.location["url"]
        if message.type == "error" and not (is_status and message.page and at == message.page.url):
            self.seen.append(f"console: {message.text} ({at})")


@pytest.fixture
def page(browser: Browser, site: Site) -> Iterator[Page]:
    """A wide tab of its own: relative addresses are the site's. The test fails when a page asks
    another host for something, or when the console tells of an error."""
    context = browser.new_context(base_url=site.url, viewport=WIDE, reduced_motion="reduce")
    context.set_default_timeout(PATIENCE_S * 1000)
    watch = Watch(site.url)
    context.on("request", watch.on_request)
    context.on("console", watch.on_console)
    context.on("weberror", lambda error: watch.seen.append(f"script: {error.error}"))
    yield context.new_page()
    context.close()
    assert not watch.seen


def violations(page: Page) -> list[str]:
    """What axe finds serious or critical on the page as it is now, and what sticks out of it."""
    page.evaluate(AXE.read_text())
    found: dict[str, Any] = page.evaluate("axe.run({resultTypes: ['violations']})")
    faults = [
        f"{fault['id']} ({fault['impact']}): {node['html'][:200]} {node['failureSummary']}"
        for fault in found["violations"]
        if fault["impact"] in ("serious", "critical")
        for node in fault["nodes"]
    ]
    root = "document.documentElement"
    if page.evaluate(f"{root}.scrollWidth > {root}.clientWidth"):
        faults.append("the page is wider than the screen")
    return faults

"""A few simulated images, ingested and served; jobs are queued but nobody runs them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from app.config import Config
from app.demo.announce import dataset_id
from app.demo.settings import BANDS, Camera, SurveySettings
from app.demo.survey import make_survey
from app.demo.truth import SurveyTruth
from app.main import create_app
from app.wiring_database import initialise
from app.wiring_images import open_ingest

SMALL = SurveySettings(
    camera=Camera(columns=2, rows=1, nx_px=240, ny_px=200),
    bands=BANDS[:2],
    quiet_epochs=1,
    active_epochs=1,
    dither_arcsec=10.0,
    transients=2,
    variables=1,
)


@dataclass(frozen=True)
class Site:
    """The served survey and a client of it."""

    client: TestClient
    truth: SurveyTruth
    data_dir: Path
    config: Config

    @property
    def image_id(self) -> str:
        """Identifier of the last detector's first image in r."""
        exposure = next(e for e in self.truth.exposures if e.band == "r" and e.detector == 1)
        return dataset_id(exposure, "skyloom.local")


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Two epochs: too few for templates."""
    return make_site(tmp_path_factory.mktemp("site"), SMALL)


def make_site(data_dir: Path, settings: SurveySettings) -> Site:
    """A survey, ingested, and what serves it."""
    truth = make_survey(data_dir / "survey", seed=5, workers=1, settings=settings)
    config = Config(data_dir=data_dir, workers=1, title="Test & Sky")
    initialise(config)
    with open_ingest(config) as service:
        report = service.run(
            [truth.images], collection="demo", profile=None, progress=lambda _done, _all: None
        )
    assert report.exit_status == 0
    # Without entering the client the application is not started: queued jobs stay queued.
    client = TestClient(create_app(config), base_url="http://sky.test")
    return Site(client, truth, data_dir, config)

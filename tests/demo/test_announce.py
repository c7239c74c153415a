"""The demo's announcement names things that exist."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from astropy.io import fits
from astropy.wcs import WCS

from app.demo.announce import announce, find_showpiece
from app.demo.settings import BANDS, Camera, SurveySettings
from app.demo.survey import make_survey
from app.demo.truth import SurveyTruth


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> SurveyTruth:
    settings = SurveySettings(
        camera=Camera(columns=1, rows=1, nx_px=300, ny_px=280),
        bands=BANDS[1:2],
        quiet_epochs=1,
        active_epochs=2,
        dither_arcsec=5.0,
        transients=4,
        variables=1,
    )
    return make_survey(tmp_path_factory.mktemp("s"), seed=11, workers=1, settings=settings)


def test_the_showpiece_lies_on_its_image(truth: SurveyTruth) -> None:
    piece = find_showpiece(truth)
    assert piece is not None
    with fits.open(truth.folder / piece.exposure.path) as hdus:
        x, y = WCS(hdus["IMAGE"].header).all_world2pix(
            piece.transient.lon_deg, piece.transient.lat_deg, 0
        )
    assert 25 <= x < 275 and 25 <= y < 255
    assert piece.quiet_mjd[1] < piece.transient.t0_mjd
    assert piece.quiet_mjd[0] <= truth.first_mjd() <= piece.quiet_mjd[1]


def test_addresses_name_the_file(truth: SurveyTruth) -> None:
    text = announce(truth, base_url="http://sky.test:81", authority="my.org")
    piece = find_showpiece(truth)
    assert piece is not None
    page, build = (
        urlsplit(u) for u in re.findall(r"http://sky\.test:81/(?:images|builds)\S+", text)
    )
    name = Path(piece.exposure.path).stem
    assert parse_qs(page.query)["ID"] == [f"ivo://my.org/demo?r/{name}"]
    assert parse_qs(build.query.rstrip('"'))["ID"] == [f"ivo://my.org/demo?r/{name}"]
    assert str(truth.folder / "truth.json") in text


def test_a_survey_without_transients_is_announced_too(tmp_path: Path) -> None:
    settings = SurveySettings(
        camera=Camera(columns=1, rows=1, nx_px=64, ny_px=64),
        bands=BANDS[:1],
        quiet_epochs=1,
        active_epochs=0,
        transients=0,
        variables=0,
    )
    truth = make_survey(tmp_path, seed=1, workers=1, settings=settings)
    assert find_showpiece(truth) is None
    assert "1 images of 1 visits in g" in announce(truth, base_url="http://x")
